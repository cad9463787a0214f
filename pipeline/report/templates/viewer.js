// The slice viewer. Volumes are bytes with x running fastest, in RAS+: x to the patient's right,
// y to the front, z to the head. On the screen right, or front, is on the left; head, or front, up.
(() => {
  "use strict";
  const root = document.getElementById("viewer");
  if (!root) return;
  const about = JSON.parse(document.getElementById("viewer-data").textContent);
  const PLANES = { 2: [0, 1], 1: [0, 2], 0: [1, 2] }; // axis across -> axes along columns, rows
  const LONGEST = 720; // pixels of the longest side of a canvas
  const DIMMED = 0.7; // brightness of the scan below errors
  const state = {
    index: 0,
    layer: "prediction",
    place: [0, 0, 0],
    shown: new Uint8Array(256).fill(1),
    opacity: 0.6,
    volumes: null,
  };
  const unpacked = new Map();
  const figures = [...root.querySelectorAll("figure[data-axis]")];
  const readout = root.querySelector(".readout");
  const say = (text) => (readout.textContent = text);

  async function unpack(index) {
    if (!unpacked.has(index)) {
      const text = document.getElementById(`case-${index}`).textContent.trim();
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      const all = new Uint8Array(await new Response(stream).arrayBuffer());
      const size = all.length / 4;
      const [scan, truth, prediction, entropy] = [0, 1, 2, 3].map((n) =>
        all.subarray(n * size, (n + 1) * size),
      );
      unpacked.set(index, { scan, truth, prediction, entropy });
    }
    return unpacked.get(index);
  }

  // Red, green, blue and opacity (0 to 1) that a layer lays over one voxel; null for nothing.
  function overlay(voxel) {
    const { truth, prediction, entropy } = state.volumes;
    const [t, p] = [truth[voxel], prediction[voxel]];
    if (state.layer === "truth") return t && state.shown[t] ? [about.colors[t], state.opacity] : null;
    if (state.layer === "prediction")
      return p && state.shown[p] ? [about.colors[p], state.opacity] : null;
    if (state.layer === "error") {
      const missed = t > 0 && state.shown[t] === 1;
      const added = p > 0 && state.shown[p] === 1;
      if (t === p || !(missed || added)) return null;
      const kind = missed && added ? "exchanged" : missed ? "missed" : "added";
      return [about.errors[kind], Math.min(1, state.opacity + 0.25)];
    }
    if (state.layer === "uncertainty") {
      const much = entropy[voxel] / 255;
      return much ? [about.glow[entropy[voxel]], Math.min(1, 2 * much) * state.opacity] : null;
    }
    return null;
  }

  function images(axis) {
    const { shape } = about.cases[state.index];
    const [across, down] = PLANES[axis];
    const [width, height] = [shape[across], shape[down]];
    const gray = new ImageData(width, height);
    const tint = new ImageData(width, height);
    const place = [...state.place];
    const light = state.layer === "error" ? DIMMED : 1;
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        place[across] = width - 1 - column;
        place[down] = height - 1 - row;
        const voxel = place[0] + shape[0] * (place[1] + shape[1] * place[2]);
        const at = 4 * (row * width + column);
        gray.data.fill(state.volumes.scan[voxel] * light, at, at + 3);
        gray.data[at + 3] = 255;
        const found = overlay(voxel);
        if (found) {
          tint.data.set(found[0], at);
          tint.data[at + 3] = 255 * found[1];
        }
      }
    }
    return [gray, tint];
  }

  function asCanvas(image) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  function draw(figure) {
    const axis = Number(figure.dataset.axis);
    const { shape, spacing } = about.cases[state.index];
    const [across, down] = PLANES[axis];
    const canvas = figure.querySelector("canvas");
    const context = canvas.getContext("2d");
    const [gray, tint] = images(axis).map(asCanvas);
    context.imageSmoothingEnabled = true;
    context.drawImage(gray, 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = state.layer === "uncertainty";
    context.drawImage(tint, 0, 0, canvas.width, canvas.height);
    crosshair(context, canvas, [
      1 - (state.place[across] + 0.5) / shape[across],
      1 - (state.place[down] + 0.5) / shape[down],
    ]);
    const slider = figure.querySelector("input");
    slider.value = state.place[axis];
    const text = `${state.place[axis] + 1} of ${shape[axis]}`;
    slider.setAttribute("aria-valuetext", `slice ${text}`);
    figure.querySelector("output").textContent = text;
    figure.style.setProperty("--extent", shape[across] * spacing[across]);
  }

  function crosshair(context, canvas, [x, y]) {
    const gap = 14;
    const [column, row] = [x * canvas.width, y * canvas.height];
    context.strokeStyle = "rgba(255, 255, 255, 0.35)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [from, to] of [[0, column - gap], [column + gap, canvas.width]]) {
      context.moveTo(from, row);
      context.lineTo(to, row);
    }
    for (const [from, to] of [[0, row - gap], [row + gap, canvas.height]]) {
      context.moveTo(column, from);
      context.lineTo(column, to);
    }
    context.stroke();
  }

  const drawAll = () => {
    if (state.volumes) figures.forEach(draw);
  };

  function fit() {
    const { shape, spacing } = about.cases[state.index];
    const extent = shape.map((size, axis) => size * spacing[axis]);
    const scale = LONGEST / Math.max(...extent);
    for (const figure of figures) {
      const axis = Number(figure.dataset.axis);
      const canvas = figure.querySelector("canvas");
      const [across, down] = PLANES[axis];
      canvas.width = Math.round(extent[across] * scale);
      canvas.height = Math.round(extent[down] * scale);
      figure.querySelector("input").max = shape[axis] - 1;
    }
  }

  let wanted = 0; // while scans are unpacked, the reader may choose another case

  async function choose(index) {
    wanted = index;
    const volumes = await unpack(index);
    if (index !== wanted) return;
    const shown = about.cases[index];
    state.index = index;
    state.volumes = volumes;
    state.place = [...shown.start];
    fit();
    drawAll();
    for (const row of root.querySelectorAll("[data-organ]")) {
      const score = shown.dice[row.dataset.organ];
      row.querySelector(".score").textContent =
        score === null || score === undefined ? "–" : (100 * score).toFixed(1);
      row.querySelector("button").disabled = !shown.centers[row.dataset.organ];
    }
    root.querySelector(".joined").textContent = shown.note;
    for (const end of [0, 1])
      root.querySelector(`.ramp-${end}`).textContent = shown.entropy[end].toFixed(2);
    say("Point at a slice to read a voxel; click to move the other two slices there.");
  }

  const open = (index) =>
    choose(index).catch((fault) => {
      say(`The scans of this page cannot be unpacked (${fault.message}): make the report again.`);
    });

  function voxelAt(event) {
    const canvas = event.currentTarget;
    const axis = Number(canvas.closest("figure").dataset.axis);
    const { shape } = about.cases[state.index];
    const [across, down] = PLANES[axis];
    const box = canvas.getBoundingClientRect();
    const place = [...state.place];
    const index = (share, size) => Math.max(0, Math.min(size - 1, Math.floor((1 - share) * size)));
    place[across] = index((event.clientX - box.left) / box.width, shape[across]);
    place[down] = index((event.clientY - box.top) / box.height, shape[down]);
    return place;
  }

  function tell(place) {
    const { shape } = about.cases[state.index];
    const voxel = place[0] + shape[0] * (place[1] + shape[1] * place[2]);
    const { scan, truth, prediction, entropy } = state.volumes;
    const [low, high] = about.window ?? [0, 255];
    const density = about.window
      ? `${Math.round(low + (scan[voxel] / 255) * (high - low))} HU`
      : `gray ${scan[voxel]} of 255`;
    const [least, most] = about.cases[state.index].entropy;
    const unsure = least + (entropy[voxel] / 255) * (most - least);
    say(
      `${density} · truth ${about.classes[truth[voxel]]} · prediction ` +
        `${about.classes[prediction[voxel]]} · uncertainty ${unsure.toFixed(2)}`,
    );
  }

  for (const figure of figures) {
    const canvas = figure.querySelector("canvas");
    const move = (event) => {
      if (!state.volumes) return;
      const place = voxelAt(event);
      if (event.buttons & 1) {
        state.place = place;
        drawAll();
      }
      tell(place);
    };
    canvas.addEventListener("pointerdown", move);
    canvas.addEventListener("pointermove", move);
    figure.querySelector("input").addEventListener("input", (event) => {
      state.place[Number(figure.dataset.axis)] = Number(event.target.value);
      drawAll();
    });
  }
  for (const input of root.querySelectorAll("input[name=case]"))
    input.addEventListener("change", () => open(Number(input.value)));
  for (const input of root.querySelectorAll("input[name=layer]"))
    input.addEventListener("change", () => {
      state.layer = input.value;
      root.dataset.layer = input.value;
      drawAll();
    });
  root.querySelector("input[name=opacity]").addEventListener("input", (event) => {
    state.opacity = Number(event.target.value) / 100;
    drawAll();
  });
  for (const row of root.querySelectorAll("[data-organ]")) {
    const box = row.querySelector("input");
    box.addEventListener("change", () => {
      state.shown[Number(row.dataset.label)] = box.checked ? 1 : 0;
      drawAll();
    });
    row.querySelector("button").addEventListener("click", () => {
      state.place = [...about.cases[state.index].centers[row.dataset.organ]];
      drawAll();
    });
  }
  for (const button of root.querySelectorAll("[data-all]"))
    button.addEventListener("click", () => {
      const all = button.dataset.all === "1";
      for (const box of root.querySelectorAll("[data-organ] input")) box.checked = all;
      state.shown.fill(all ? 1 : 0);
      drawAll();
    });

  // A browser may restore what was chosen before a reload; the page begins anew.
  for (const box of root.querySelectorAll("[data-organ] input")) box.checked = true;
  root.querySelector("input[name=case][value='0']").checked = true;
  root.querySelector("input[name=layer][value=prediction]").checked = true;
  root.querySelector("input[name=opacity]").value = 100 * state.opacity;
  if (typeof DecompressionStream === "undefined")
    say("This browser cannot unpack the scans (it has no DecompressionStream): use a newer one.");
  else
    open(0);
})();
