"use strict";
// A click on a heading sorts the songs by that measure, a second one the other way round.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const songs = () => [...table.tBodies];
  const value = (body, column) => {
    const text = body.rows[0].querySelectorAll("td.n")[column]?.textContent ?? "";
    const number = Number.parseFloat(text);
    return Number.isNaN(number) ? -Infinity : number;
  };
  [...table.querySelectorAll("button[data-column]")].forEach((button) => {
    button.addEventListener("click", () => {
      const column = Number(button.dataset.column);
      const heading = button.closest("th");
      const down = heading.getAttribute("aria-sort") !== "descending";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sorted = songs().sort((a, b) => (down ? 1 : -1) * (value(b, column) - value(a, column)));
      table.append(...sorted);
    });
  });
}
