"use strict";
// The turning view: points on a canvas, nearest last, turned by hand or slowly by themselves.
for (const figure of document.querySelectorAll("figure:has(.turning)")) {
  const { points, labels, colours, axes, view } = JSON.parse(figure.querySelector(".cloud").textContent);
  const box = figure.querySelector(".turning"), standing = figure.querySelector(".standing");
  const canvas = box.querySelector("canvas"), pen = canvas.getContext("2d");
  const pause = box.querySelector(".pause"), reset = box.querySelector(".reset");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const order = points.map((_, i) => i), seen = points.map(() => [0, 0, 0]);
  const held = new Map(); // pointers that are down, by id
  let azimuth, elevation, zoom, only = null, turning = !still.matches, visible = true, drawn = false, last = 0;

  // the same turn as `projection.turned` makes for the picture without a script
  function turn([x, y, z]) {
    const [ca, sa, ce, se] = [Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation)];
    const away = sa * x + ca * y;
    return [ca * x - sa * y, ce * z + se * away, se * z - ce * away];
  }

  function draw() {
    drawn = true;
    const side = canvas.clientWidth, dense = devicePixelRatio || 1;
    if (!side) { drawn = false; return; }
    if (canvas.width !== Math.round(side * dense)) canvas.width = canvas.height = Math.round(side * dense);
    const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const scale = (side / 2.7) * zoom, middle = side / 2;
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, side, side);
    pen.globalAlpha = 1;
    pen.font = "12px " + colour("--sans");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((axis, i) => {
      const [x, y] = turn(axis);
      pen.strokeStyle = colour("--line");
      pen.beginPath();
      pen.moveTo(middle - x * scale, middle + y * scale);
      pen.lineTo(middle + x * scale, middle - y * scale);
      pen.stroke();
      pen.fillStyle = colour("--muted");
      pen.fillText(axes[i], middle + x * scale * 1.09, middle - y * scale * 1.09);
    });
    points.forEach((point, i) => { seen[i] = turn(point); });
    order.sort((a, b) => seen[a][2] - seen[b][2]);
    for (const i of order) {
      const [x, y, depth] = seen[i], near = Math.min(1, Math.max(0, (depth / 1000 + 1.2) / 2.4));
      pen.globalAlpha = (0.35 + 0.6 * near) * (only === null || only === labels[i] ? 1 : 0.06);
      pen.fillStyle = colours[labels[i]];
      pen.beginPath();
      pen.arc(middle + (x / 1000) * scale, middle - (y / 1000) * scale, (1.5 + 1.8 * near) * Math.sqrt(zoom), 0, 7);
      pen.fill();
    }
  }

  function frame(now) {
    if (turning && visible && !held.size) azimuth += Math.min(now - last, 50) * 0.00022;
    if ((turning && visible && !held.size) || !drawn) draw();
    last = now;
    requestAnimationFrame(frame);
  }

  function set(running) {
    turning = running;
    pause.textContent = turning ? "Pause" : "Turn";
    pause.setAttribute("aria-pressed", String(!turning));
  }

  function home() { [azimuth, elevation] = view; zoom = 1; drawn = false; }
  function tilt(across, up) {
    azimuth += across;
    elevation = Math.min(1.5, Math.max(-1.5, elevation + up));
    drawn = false;
  }
  function magnify(factor) { zoom = Math.min(8, Math.max(0.5, zoom * factor)); drawn = false; }
  function spread() {
    const [a, b] = [...held.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId), now = { x: event.clientX, y: event.clientY };
    if (!before) return;
    const apart = held.size === 2 ? spread() : 0;
    held.set(event.pointerId, now);
    if (apart) magnify(spread() / apart);
    else tilt((now.x - before.x) * 0.008, (now.y - before.y) * 0.008);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => held.delete(event.pointerId));
  }
  // the wheel belongs to the page until the view has been clicked; a pinch on a touchpad arrives with ctrlKey
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    magnify(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = {
      ArrowLeft: () => tilt(-0.1, 0), ArrowRight: () => tilt(0.1, 0), ArrowUp: () => tilt(0, -0.1), ArrowDown: () => tilt(0, 0.1),
      "+": () => magnify(1.15), "=": () => magnify(1.15), "-": () => magnify(1 / 1.15), " ": () => set(!turning),
    };
    if (!steps[event.key]) return;
    event.preventDefault();
    steps[event.key]();
  });
  pause.addEventListener("click", () => set(!turning));
  reset.addEventListener("click", home);
  still.addEventListener("change", () => set(!still.matches));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawn = false; });
  new ResizeObserver(() => { drawn = false; }).observe(canvas);
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; }).observe(canvas);

  // with a script the legend shows one class at a time
  figure.querySelectorAll(".legend li").forEach((item, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      only = only === i ? null : i;
      figure.querySelectorAll(".legend button").forEach((other, j) => other.setAttribute("aria-pressed", String(only === j)));
      drawn = false;
    });
    item.append(button);
  });

  box.hidden = false;
  standing.style.display = "none";
  home();
  set(turning);
  requestAnimationFrame(frame);
}
