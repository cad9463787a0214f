// Surfaces of truth and prediction that turn together, drawn by TWGL. Points are in a cube from 0
// to 1 along RAS+; how they are packed is said in surfaces/packing.py.
(() => {
  "use strict";
  const root = document.getElementById("surfaces-view");
  if (!root) return;
  const about = JSON.parse(document.getElementById("surfaces-data").textContent);
  const canvas = root.querySelector("canvas");
  const stage = root.querySelector(".stage");
  const state = {
    index: 0,
    turn: about.turn, // degrees from the front to the patient's left
    rise: about.rise, // degrees above the horizon
    zoom: 1,
    shown: new Uint8Array(256).fill(1),
    spin: false,
  };
  const VERTEX = `
    attribute vec3 position;
    attribute vec3 normal;
    uniform mat3 axes;
    uniform vec2 scale;
    varying vec3 facing;
    void main() {
      vec3 place = axes * (position - 0.5);
      facing = axes * normal;
      gl_Position = vec4(place.xy * scale, -0.5 * place.z, 1.0);
    }`;
  const FRAGMENT = `
    precision mediump float;
    varying vec3 facing;
    uniform vec3 color;
    void main() {
      float light = max(dot(normalize(facing), normalize(vec3(-0.35, 0.45, 0.82))), 0.0);
      gl_FragColor = vec4(color * (0.38 + 0.62 * light), 1.0);
    }`;
  let gl = null;
  let program = null;
  const scenes = new Map(); // case -> its meshes on the graphics card

  async function numbersOf(index) {
    const text = document.getElementById(`surfaces-${index}`).textContent.trim();
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const all = new Uint8Array(await new Response(stream).arrayBuffer());
    const half = all.length / 2;
    return Uint16Array.from({ length: half }, (_, at) => all[at] | (all[half + at] << 8));
  }

  // The mesh of a part, whose numbers begin at a place; gives the place behind it, too.
  function meshAt(numbers, start, points, quads) {
    let place = start;
    const column = (length) => {
      const values = new Uint16Array(length);
      let value = 0;
      for (let at = 0; at < length; at++) values[at] = value = (value + numbers[place++]) & 65535;
      return values;
    };
    const axes = [0, 1, 2].map(() => column(points));
    const corners = [0, 1, 2, 3].map(() => column(quads));
    const position = new Float32Array(3 * points);
    for (let at = 0; at < points; at++)
      for (let axis = 0; axis < 3; axis++) position[3 * at + axis] = axes[axis][at] / 65535;
    const indices = new Uint16Array(6 * quads);
    for (let at = 0; at < quads; at++)
      indices.set([0, 1, 2, 0, 2, 3].map((corner) => corners[corner][at]), 6 * at);
    return [{ position, indices, normal: normalsOf(position, indices) }, place];
  }

  function normalsOf(position, indices) {
    const normal = new Float32Array(position.length);
    for (let at = 0; at < indices.length; at += 3) {
      const [a, b, c] = [0, 1, 2].map((corner) => 3 * indices[at + corner]);
      const side = (from, to) => [0, 1, 2].map((axis) => position[to + axis] - position[from + axis]);
      const [u, v] = [side(a, b), side(a, c)];
      const face = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const corner of [a, b, c])
        for (let axis = 0; axis < 3; axis++) normal[corner + axis] += 1e4 * face[axis];
    }
    return normal; // the shader brings them to length 1
  }

  async function sceneOf(index) {
    if (!scenes.has(index)) {
      const numbers = await numbersOf(index);
      let place = 0;
      let reach = 0.01; // of the points from the middle, so that nothing is cut off when turned
      const parts = about.cases[index].parts.map(([mask, label, points, quads]) => {
        const [mesh, next] = meshAt(numbers, place, points, quads);
        place = next;
        const p = mesh.position;
        for (let at = 0; at < p.length; at += 3)
          reach = Math.max(reach, Math.hypot(p[at] - 0.5, p[at + 1] - 0.5, p[at + 2] - 0.5));
        const buffers = twgl.createBufferInfoFromArrays(gl, {
          position: { numComponents: 3, data: mesh.position },
          normal: { numComponents: 3, data: mesh.normal },
          indices: { numComponents: 3, data: mesh.indices },
        });
        return { mask, label, buffers };
      });
      scenes.set(index, { parts, reach });
    }
    return scenes.get(index);
  }

  // Directions in RAS+ of the picture's right and top, and toward the viewer.
  function axesOf() {
    const [around, above] = [state.turn, state.rise].map((degrees) => (degrees * Math.PI) / 180);
    const right = [-Math.cos(around), -Math.sin(around), 0];
    const toward = [
      -Math.sin(around) * Math.cos(above),
      Math.cos(around) * Math.cos(above),
      Math.sin(above),
    ];
    const top = [
      toward[1] * right[2] - toward[2] * right[1],
      toward[2] * right[0] - toward[0] * right[2],
      toward[0] * right[1] - toward[1] * right[0],
    ];
    return [right, top, toward];
  }

  function draw() {
    const scene = scenes.get(state.index);
    if (!scene) return;
    twgl.resizeCanvasToDisplaySize(canvas, Math.min(window.devicePixelRatio, 2));
    const axes = axesOf();
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(program.program);
    const stacked = canvas.height > canvas.width;
    const width = stacked ? canvas.width : canvas.width / 2;
    const height = stacked ? canvas.height / 2 : canvas.height;
    const size = (0.96 * state.zoom * Math.min(width, height)) / scene.reach;
    about.masks.forEach((mask, place) => {
      const [x, y] = stacked ? [0, height * (1 - place)] : [width * place, 0];
      gl.viewport(x, y, width, height);
      gl.enable(gl.SCISSOR_TEST);
      gl.scissor(x, y, width, height);
      for (const part of scene.parts) {
        if (part.mask !== mask || !state.shown[part.label]) continue;
        twgl.setBuffersAndAttributes(gl, program, part.buffers);
        twgl.setUniforms(program, {
          axes: [0, 1, 2].flatMap((axis) => axes.map((row) => row[axis])), // column by column
          scale: [size / width, size / height],
          color: about.colors[part.label].map((value) => value / 255),
        });
        twgl.drawBufferInfo(gl, part.buffers);
      }
      gl.disable(gl.SCISSOR_TEST);
    });
    orient(axes);
  }

  function orient([right, top, toward]) {
    const lines = stage.querySelectorAll(".triad line");
    stage.querySelectorAll(".triad text").forEach((text, at) => {
      const axis = at >> 1;
      const sign = at & 1 ? -1 : 1;
      const [x, y] = [20 * sign * right[axis], -20 * sign * top[axis]];
      const shown = sign * toward[axis] > -0.3 ? "visible" : "hidden";
      for (const [key, value] of [["x", 1.25 * x], ["y", 1.25 * y], ["visibility", shown]])
        text.setAttribute(key, value);
      for (const [key, value] of [["x2", 0.85 * x], ["y2", 0.85 * y], ["visibility", shown]])
        lines[at].setAttribute(key, value);
    });
  }

  let waiting = false;
  function later() {
    if (waiting || !gl) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  async function choose(index) {
    state.index = index;
    for (const still of root.querySelectorAll(".stills"))
      still.hidden = Number(still.dataset.case) !== index;
    if (!gl) return;
    await sceneOf(index);
    if (index === state.index) draw();
  }

  function turn(by, up) {
    state.turn = (state.turn + by + 360) % 360;
    state.rise = Math.max(-90, Math.min(90, state.rise + up));
    later();
  }

  function spinning(now) {
    let last = now;
    const step = (time) => {
      if (!state.spin || !gl) return;
      turn((time - last) * 0.03, 0);
      last = time;
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  function spin(wanted) {
    if (wanted === state.spin) return;
    state.spin = wanted;
    root.querySelector("[data-spin]").setAttribute("aria-pressed", wanted);
    if (wanted) spinning(performance.now());
  }

  function stop() {
    gl = null;
    delete root.dataset.live;
  }

  function listen() {
    canvas.addEventListener("pointerdown", (event) => {
      spin(false);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) turn(-0.5 * event.movementX, 0.5 * event.movementY);
    });
    const keys = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      turn(...keys[event.key]);
    });
    canvas.addEventListener("webglcontextlost", stop);
    for (const button of root.querySelectorAll("[data-turn]"))
      button.addEventListener("click", () => {
        spin(false);
        [state.turn, state.rise] = [Number(button.dataset.turn), Number(button.dataset.rise)];
        later();
      });
    for (const button of root.querySelectorAll("[data-zoom]"))
      button.addEventListener("click", () => {
        state.zoom = Math.max(0.5, Math.min(4, state.zoom * Number(button.dataset.zoom)));
        later();
      });
    root.querySelector("[data-spin]").addEventListener("click", () => spin(!state.spin));
    const boxes = [...root.querySelectorAll(".organs input")];
    for (const box of boxes) {
      box.checked = true;
      box.addEventListener("change", () => {
        state.shown[Number(box.closest("li").dataset.label)] = box.checked ? 1 : 0;
        later();
      });
    }
    for (const button of root.querySelectorAll("[data-every]"))
      button.addEventListener("click", () => {
        const all = button.dataset.every === "1";
        for (const box of boxes) box.checked = all;
        state.shown.fill(all ? 1 : 0);
        later();
      });
    new ResizeObserver(later).observe(canvas);
  }

  async function start() {
    const wishes = { antialias: true, alpha: true };
    gl = canvas.getContext("webgl2", wishes) ?? canvas.getContext("webgl", wishes);
    program = gl && twgl.createProgramInfo(gl, [VERTEX, FRAGMENT]);
    if (!program) return stop();
    root.dataset.live = "";
    listen();
    return choose(state.index);
  }

  for (const input of root.querySelectorAll("input[name=surface-case]")) {
    input.checked = input.value === "0"; // a browser may restore an earlier choice
    input.addEventListener("change", () => choose(Number(input.value)).catch(stop));
  }
  // Only when the reader comes near, so that the page opens at once.
  const near = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      start().catch(stop);
    },
    { rootMargin: "600px" },
  );
  near.observe(stage);
})();
