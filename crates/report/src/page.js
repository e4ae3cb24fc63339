// Draws every figure in the colours that page.css gives at the moment, and again when they change.
"use strict";
(() => {
  const root = document.documentElement;
  const scripts = [...document.querySelectorAll("script[data-figure]")];
  const touch = matchMedia("(pointer: coarse)");
  const config = { responsive: true, displayModeBar: false };

  // Every "var(--name)" in a figure becomes the value of that property.
  const resolve = (value, style) => {
    if (typeof value === "string") {
      const name = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((entry) => resolve(entry, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolve(v, style)]));
    }
    return value;
  };

  const draw = (paper) => {
    const style = getComputedStyle(root);
    for (const script of scripts) {
      const { data, layout } = resolve(JSON.parse(script.textContent), style);
      if (paper) {
        layout.width = paper.width;
        layout.height = Math.min(layout.height, paper.height);
      }
      // On a touch screen a drag scrolls the page.
      if (touch.matches) layout.dragmode = false;
      Plotly.react(script.previousElementSibling, data, layout, config);
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    draw({ width: 660, height: 310 });
  });
  addEventListener("afterprint", () => {
    delete root.dataset.theme;
    draw();
  });
})();
