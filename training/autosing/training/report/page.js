"use strict";
// The pointer over one chart tells the values at its step in all charts; one player sounds at a time.
const told = (value, unit) => {
  const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en").replaceAll(",", "\u202f")
    : String(Number(value.toPrecision(3)));
  return text.replace("-", "−") + (unit ? `\u202f${unit}` : "");
};

const nearest = (steps, step) => {
  let low = 0;
  let high = steps.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle; else high = middle;
  }
  return step - steps[low] <= steps[high] - step ? low : high;
};

const place = ([low, high, start, end], value, log) => {
  const [a, b, v] = log ? [low, high, value].map(Math.log) : [low, high, value];
  return start + ((v - a) / (b - a)) * (end - start);
};

const charts = [...document.querySelectorAll("[data-chart]")].map((box) => {
  const svg = box.querySelector("svg.curves");
  const { x, y, log, curves } = JSON.parse(svg.dataset.curves);
  const outputs = [...box.querySelectorAll("output")];
  const usual = outputs.map((output) => output.textContent);
  const line = svg.querySelector(".pointer");
  const dots = [...svg.querySelectorAll(".at")];

  const show = (step) => {
    outputs[0].textContent = told(step, "");
    line.setAttribute("transform", `translate(${(place(x, step, false) - x[2]).toFixed(1)} 0)`);
    curves.forEach((curve, i) => {
      const n = nearest(curve.steps, step);
      const range = curve.low ? ` (${told(curve.low[n], "")} to ${told(curve.high[n], "")})` : "";
      outputs[i + 1].textContent = told(curve.values[n], box.dataset.unit) + range;
      dots[i].setAttribute("cx", place(x, curve.steps[n], false).toFixed(1));
      dots[i].setAttribute("cy", place(y, curve.values[n], log).toFixed(1));
    });
    for (const mark of [line, ...dots]) mark.classList.add("shown");
  };
  const hide = () => {
    outputs.forEach((output, i) => { output.textContent = usual[i]; });
    for (const mark of [line, ...dots]) mark.classList.remove("shown");
  };
  const stepAt = (event) => {
    const frame = svg.getBoundingClientRect();
    const pixel = ((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width;
    const share = Math.max(0, Math.min((pixel - x[2]) / (x[3] - x[2]), 1));
    return Math.round(x[0] + share * (x[1] - x[0]));
  };
  return { svg, show, hide, stepAt };
});

for (const { svg, stepAt } of charts) {
  for (const kind of ["pointermove", "pointerdown"]) {
    svg.addEventListener(kind, (event) => {
      const step = stepAt(event);
      for (const chart of charts) chart.show(step);
    });
  }
  svg.addEventListener("pointerleave", () => { for (const chart of charts) chart.hide(); });
}

for (const audio of document.querySelectorAll("audio")) {
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
  });
}
