"use strict";
// A line in each figure follows its player; a click on a figure moves the player there; one player sounds at a time.
for (const box of document.querySelectorAll("[data-player]")) {
  const audio = box.querySelector("audio");
  const figure = box.querySelector("svg.lanes");
  if (!audio || !figure) continue;
  const line = figure.querySelector(".playhead");
  const left = Number(figure.dataset.left);
  const width = Number(figure.dataset.right) - left;
  const seconds = Number(figure.dataset.seconds);

  const move = () => {
    const share = Math.min(audio.currentTime / seconds, 1);
    line.setAttribute("transform", `translate(${(share * width).toFixed(1)} 0)`);
    line.classList.toggle("shown", audio.currentTime > 0);
  };
  const follow = () => {
    move();
    if (!audio.paused) requestAnimationFrame(follow);
  };

  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  for (const event of ["timeupdate", "seeking", "seeked"]) audio.addEventListener(event, move);

  figure.addEventListener("click", (event) => {
    const frame = figure.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * figure.viewBox.baseVal.width;
    audio.currentTime = Math.max(0, Math.min((x - left) / width, 1)) * seconds;
  });
}
