// Plays sprite sheets: one image per animation, drawn frame by frame. Stands still for people who ask for less motion.
for (const box of document.querySelectorAll(".player")) {
  const { count, columns, width, height, fps } = Object.fromEntries(
    Object.entries(box.dataset).map(([key, value]) => [key, Number(value)]));
  const canvas = box.querySelector("canvas"), slider = box.querySelector("input");
  const button = box.querySelector("button"), output = box.querySelector("output");
  const context = canvas.getContext("2d"), sheet = new Image();
  let at = 0, playing = false, seen = false, last = 0, hold = 0;

  const draw = () => {
    context.drawImage(sheet, (at % columns) * width, Math.floor(at / columns) * height, width, height, 0, 0, width, height);
    slider.value = at;
    output.textContent = `step ${at}/${count - 1}`;
  };
  const play = (wanted) => {
    playing = wanted;
    button.textContent = playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", playing ? "Pause" : "Play");
    if (playing) requestAnimationFrame(tick);
  };
  const tick = (now) => {
    if (!playing) return;
    if (seen && now - last >= 1000 / fps) {
      last = now;
      if (at < count - 1) { at += 1; draw(); }
      else if (++hold > fps) { at = 0; hold = 0; draw(); }
    }
    requestAnimationFrame(tick);
  };
  const toggle = () => { if (!playing && at === count - 1) at = 0; play(!playing); };
  button.addEventListener("click", toggle);
  canvas.addEventListener("click", toggle);
  slider.addEventListener("input", () => { play(false); at = Number(slider.value); draw(); });
  new IntersectionObserver((entries) => { seen = entries[0].isIntersecting; }).observe(box);
  sheet.addEventListener("load", () => {
    draw();
    play(count > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
  });
  sheet.src = box.querySelector("script").textContent.trim();
}
