(function () {
  "use strict";
  const root = document.currentScript.parentElement;
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const method = root.querySelector('select[name="method"]');
  const split = root.querySelector('select[name="errors"]');
  const tip = root.querySelector(".tip"), map = root.querySelector(".scroll");
  const rectangles = root.querySelectorAll("[data-cell]");

  function errorOf(cell) {
    const errors = cell.errors[method.value];
    return errors === undefined ? undefined : errors[split.value];
  }

  function shade(value, low, high) {
    if (high <= low || low <= 0) return 0;
    const n = data.colours.length;
    return Math.min(n - 1, Math.max(0, Math.floor(Math.log(value / low) / Math.log(high / low) * n)));
  }

  function draw() {
    const known = data.cells.filter((cell) => cell.scaled).map(errorOf).filter((value) => value !== undefined);
    const low = Math.min(...known), high = Math.max(...known);
    rectangles.forEach(function (rectangle) {
      const index = rectangle.getAttribute("data-cell"), cell = data.cells[index], value = errorOf(cell);
      const shown = value !== undefined && cell.scaled, place = shown ? shade(value, low, high) : 0;
      rectangle.setAttribute("fill", shown ? data.colours[place] : data.nothing);
      rectangle.querySelector("title").textContent =
        cell.subset + (value === undefined ? ": not evaluated" : ": " + value.toFixed(4) + " eV/Å");
      const label = root.querySelector('[data-label="' + index + '"]');
      if (label) {
        label.textContent = shown ? value.toFixed(4) : "";
        label.setAttribute("fill", data.ink[place > data.colours.length / 2 ? 1 : 0]);
      }
    });
    root.querySelector('[data-scale="low"]').textContent = low.toFixed(4) + " eV/Å";
    root.querySelector('[data-scale="high"]').textContent = high.toFixed(4) + " eV/Å";
  }

  function describe(cell) {
    const lines = [cell.subset];
    Object.keys(cell.errors).forEach(function (name) {
      const errors = Object.keys(data.splits).map((key) => data.splits[key] + " " + cell.errors[name][key].toFixed(4));
      lines.push(name + ": " + errors.join(", ") + " eV/Å");
    });
    lines.push("base models take " + (1000 * cell.cost).toPrecision(3) + " ms per structure");
    return lines.join("\n");
  }

  // The tip stands in the window, not in the map: it is never cut off where the map scrolls.
  function show(index, x, y) {
    tip.textContent = describe(data.cells[index]);
    tip.hidden = false;
    tip.style.left = Math.max(8, Math.min(x + 14, document.documentElement.clientWidth - tip.offsetWidth - 8)) + "px";
    const below = y + 14 + tip.offsetHeight < document.documentElement.clientHeight;
    tip.style.top = (below ? y + 14 : Math.max(8, y - 14 - tip.offsetHeight)) + "px";
  }

  function choose(index) {
    rectangles.forEach((rectangle, place) => rectangle.classList.toggle("current", place === index));
    current = index;
    if (index < 0) { tip.hidden = true; return; }
    rectangles[index].scrollIntoView({ block: "nearest", inline: "nearest" });
    const place = rectangles[index].getBoundingClientRect();
    show(index, place.right - 14, place.bottom - 14);
  }

  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -data.columns, ArrowDown: data.columns };
  let current = -1;
  map.addEventListener("keydown", function (event) {
    if (event.key === "Escape") choose(-1);
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = current < 0 ? 0 : current + steps[event.key];
    const sameRow = Math.floor(next / data.columns) === Math.floor(current / data.columns);
    if (rectangles[next] && (current < 0 || sameRow || Math.abs(steps[event.key]) !== 1)) choose(next);
  });
  map.addEventListener("blur", () => choose(-1));
  rectangles.forEach(function (rectangle) {
    const index = Number(rectangle.getAttribute("data-cell"));
    rectangle.addEventListener("mousemove", (event) => show(index, event.clientX, event.clientY));
    rectangle.addEventListener("mouseleave", () => { tip.hidden = true; });
  });
  method.addEventListener("change", draw);
  split.addEventListener("change", draw);
  draw();
})();
