// The theme: what the system prefers, unless the reader chose one; remembered where that is allowed.
(() => {
  "use strict";
  const root = document.documentElement;
  const choices = document.querySelectorAll("input[name=theme]");
  const remember = (value) => {
    try {
      localStorage.setItem("tak-theme", value);
    } catch {
      // A page opened from disk may not be allowed to store; the choice then lasts until it closes.
    }
  };
  const remembered = () => {
    try {
      return localStorage.getItem("tak-theme");
    } catch {
      return null;
    }
  };
  const apply = (value) => {
    if (value === "auto") delete root.dataset.theme;
    else root.dataset.theme = value;
  };
  const known = ["auto", "light", "dark"];
  const first = known.includes(remembered()) ? remembered() : "auto";
  apply(first);
  for (const choice of choices) {
    choice.checked = choice.value === first;
    choice.addEventListener("change", () => {
      apply(choice.value);
      remember(choice.value);
    });
  }

  // The entry of the contents whose section is being read.
  const links = new Map();
  for (const link of document.querySelectorAll("nav a")) links.set(link.hash.slice(1), link);
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  for (const section of document.querySelectorAll("main section")) seen.observe(section);
})();
