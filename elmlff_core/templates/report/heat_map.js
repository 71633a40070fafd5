(function () {
  "use strict";
  const root = document.currentScript.parentElement;
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const method = root.querySelector('select[name="method"]');
  const split = root.querySelector('select[name="errors"]');
  const tip = root.querySelector(".tip");
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
        label.setAttribute("fill", place > data.colours.length / 2 ? "#fff" : "#1d2733");
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

  rectangles.forEach(function (rectangle) {
    const cell = data.cells[rectangle.getAttribute("data-cell")];
    rectangle.addEventListener("mousemove", function (event) {
      const frame = root.getBoundingClientRect();
      tip.textContent = describe(cell);
      tip.hidden = false;
      tip.style.left = Math.min(event.clientX - frame.left + root.scrollLeft + 14, root.scrollWidth - tip.offsetWidth) + "px";
      tip.style.top = event.clientY - frame.top + 14 + "px";
    });
    rectangle.addEventListener("mouseleave", function () { tip.hidden = true; });
  });
  method.addEventListener("change", draw);
  split.addEventListener("change", draw);
  draw();
})();
