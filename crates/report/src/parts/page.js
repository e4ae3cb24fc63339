// Draws every visible figure in the colors that page.css gives at the moment, and again when they change;
// select boxes, the theme button, and tables as CSV.
"use strict";
(() => {
  const root = document.documentElement;
  const scripts = [...document.querySelectorAll("script[data-figure]")];
  const touch = matchMedia("(pointer: coarse)");
  const config = { displayModeBar: false };

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

  // A figure in a group that is not chosen has no width to be drawn in.
  const draw = (paper) => {
    const style = getComputedStyle(root);
    for (const script of scripts) {
      const box = script.previousElementSibling;
      if (box.closest("[hidden]")) continue;
      const { data, layout } = resolve(JSON.parse(script.textContent), style);
      layout.width = paper ? paper.width : box.clientWidth;
      if (paper) layout.height = Math.min(layout.height, paper.height);
      // On a touch screen a drag scrolls the page.
      if (touch.matches) layout.dragmode = false;
      Plotly.react(box, data, layout, config);
    }
  };

  for (const choices of document.querySelectorAll("[data-choices]")) {
    choices.querySelector("select").addEventListener("change", (event) => {
      for (const choice of choices.querySelectorAll("[data-choice]")) {
        choice.hidden = choice.dataset.choice !== event.target.value;
      }
      draw();
    });
  }

  const toggle = document.querySelector("[data-theme-toggle]");
  const name = () => {
    toggle.textContent = root.dataset.theme === "dark" ? "Light theme" : "Dark theme";
  };
  const changed = () => {
    name();
    draw();
  };
  toggle.addEventListener("click", () => {
    root.dataset.chosen = "yes";
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    changed();
  });

  // A cell with quotes where it needs them. A text that a spreadsheet would take for a formula gets an
  // apostrophe; numbers stand as they are.
  const field = (cell) => {
    let text = cell.dataset.raw;
    if (text === undefined) {
      text = cell.textContent;
      if (/^[=+@\t\r-]/.test(text)) text = `'${text}`;
    }
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (table) => [...table.rows].map((row) => [...row.cells].map(field).join(",") + "\n").join("");
  const heading = (table) => {
    const own = table.closest("figure")?.querySelector("h3") ?? table.closest("section")?.querySelector("h2");
    const slug = (own?.textContent ?? "table").toLowerCase().replace(/[^a-z0-9]+/g, "-");
    return slug.replace(/^-|-$/g, "") || "table";
  };
  const download = (table) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
    link.download = `${heading(table)}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  for (const table of document.querySelectorAll("table")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "CSV";
    button.title = "Download these numbers with all digits";
    button.addEventListener("click", () => download(table));
    const folded = table.closest("details");
    (folded ?? table.closest(".scroll")).before(button);
  }

  name();
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  // Plotly's own following of a window's width leaves legends where they stood in the old one.
  let width = innerWidth;
  let waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => draw(), 120);
  });
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    draw({ width: 660, height: 310 });
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = before;
    draw();
  });
})();
