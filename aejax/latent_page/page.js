"use strict";
(() => {
  const NEAR = 8; // CSS pixels from which a point counts as pointed at
  const MARGIN = { left: 44, right: 8, top: 8, bottom: 44 }; // of equal sums, so that the plane is a square
  const INK = "#1f2328";
  const SOFT = "#59636e";
  const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";

  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("data").textContent);
  const decode = makeDecoder(data.layers);
  const latents = base64Floats(data.latents);
  const labels = new Int32Array(base64Bytes(data.labels).buffer);
  const images = base64Bytes(data.images);
  const [height, width, channels] = data.shape;
  const count = labels.length;
  const shown = data.classes.map(() => true);
  const view = viewOf(latents);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(view.half)));

  const plot = element("plot");
  const background = document.createElement("canvas"); // axes and points, drawn once and under every crosshair
  let side = 0;
  let ratio = 1;
  const cross = startingPlace();

  // One scale for both axes: distances in the plane look as they are.
  function viewOf(points) {
    const low = [Infinity, Infinity];
    const high = [-Infinity, -Infinity];
    for (let i = 0; i < points.length; i++) {
      low[i & 1] = Math.min(low[i & 1], points[i]);
      high[i & 1] = Math.max(high[i & 1], points[i]);
    }
    const half = 0.53 * Math.max(high[0] - low[0], high[1] - low[1]);
    return { x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2, half: half > 0 ? half : 1 };
  }

  // From the address, as in #1.5,-0.2; or on the point in the middle, so that both pictures show something.
  function startingPlace() {
    const [x, y] = location.hash.slice(1).split(",").map(parseFloat);
    if (Number.isFinite(x) && Number.isFinite(y)) return { x, y };
    const i = nearest(view.x, view.y, Infinity);
    return { x: latents[2 * i], y: latents[2 * i + 1] };
  }

  function nearest(x, y, within) {
    let best = -1;
    let least = within * within;
    for (let i = 0; i < count; i++) {
      const squared = (latents[2 * i] - x) ** 2 + (latents[2 * i + 1] - y) ** 2;
      if (squared < least && shown[labels[i]]) {
        best = i;
        least = squared;
      }
    }
    return best;
  }

  const inner = () => side - MARGIN.left - MARGIN.right;
  const toX = (x) => MARGIN.left + ((x - view.x) / view.half + 1) * (inner() / 2);
  const toY = (y) => MARGIN.top + (1 - (y - view.y) / view.half) * (inner() / 2);

  function resize() {
    side = Math.max(100, plot.clientWidth); // 0 in a frame that is not shown
    ratio = window.devicePixelRatio || 1;
    for (const canvas of [plot, background]) canvas.width = canvas.height = Math.round(side * ratio);
    drawBackground();
    draw();
  }

  function drawBackground() {
    const pen = background.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, side, side);
    drawAxes(pen);
    const radius = Math.min(4, Math.max(1.4, inner() / (3.2 * Math.sqrt(count))));
    pen.globalAlpha = count > 2000 ? 0.6 : 0.8;
    for (let i = 0; i < count; i++) {
      if (!shown[labels[i]]) continue;
      pen.fillStyle = data.classes[labels[i]].colour;
      pen.beginPath();
      pen.arc(toX(latents[2 * i]), toY(latents[2 * i + 1]), radius, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function drawAxes(pen) {
    const step = tickStep((2 * view.half * 70) / inner());
    const bottom = MARGIN.top + inner();
    const right = MARGIN.left + inner();
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = (middle) => {
      const first = Math.ceil((middle - view.half) / step);
      const last = Math.floor((middle + view.half) / step);
      return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
    };
    pen.font = FONT;
    pen.lineWidth = 1;
    pen.fillStyle = SOFT;
    const line = (value, x0, y0, x1, y1) => {
      if (Math.min(x0 - MARGIN.left + y0 - MARGIN.top, right - x1 + bottom - y1) < 4) return; // the frame is there
      pen.strokeStyle = value === 0 ? "#c3cad1" : "#edf0f3";
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
    };
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const value of ticks(view.x)) {
      line(value, toX(value), MARGIN.top, toX(value), bottom);
      pen.fillText(number(value, decimals), toX(value), bottom + 7);
    }
    pen.fillText("z₁", right - 8, bottom + 26);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const value of ticks(view.y)) {
      line(value, MARGIN.left, toY(value), right, toY(value));
      pen.fillText(number(value, decimals), MARGIN.left - 7, toY(value));
    }
    pen.textAlign = "left";
    pen.fillText("z₂", 3, MARGIN.top + 8);
    pen.strokeStyle = "#c3cad1";
    pen.strokeRect(MARGIN.left, MARGIN.top, inner(), inner());
  }

  // The smallest of 1, 2 and 5 times a power of ten that is no smaller.
  function tickStep(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= least);
  }

  // With a real minus sign, and none before a zero.
  function number(value, decimals) {
    return (Number(value.toFixed(decimals)) || 0).toFixed(decimals).replace("-", "−");
  }

  function draw() {
    const pen = plot.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, plot.width, plot.height);
    pen.drawImage(background, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const point = nearest(cross.x, cross.y, (NEAR * 2 * view.half) / inner());
    drawCrosshair(pen, point);

    const pixels = decode(cross.x, cross.y);
    paint(element("decoded"), (i) => 255 * pixels[i]);
    element("decoded").dataset.mean = pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
    showOriginal(point);
    element("place").textContent = `z = (${number(cross.x, digits)}, ${number(cross.y, digits)})`;
  }

  function drawCrosshair(pen, point) {
    const [x, y] = [toX(cross.x), toY(cross.y)];
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left, MARGIN.top, inner(), inner());
    pen.clip();
    pen.strokeStyle = "rgb(31 35 40 / 55%)";
    pen.lineWidth = 1;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 9 * dx, y + 9 * dy);
      pen.lineTo(x + 2 * side * dx, y + 2 * side * dy);
    }
    pen.stroke();
    if (point >= 0) {
      ring(pen, toX(latents[2 * point]), toY(latents[2 * point + 1]), 5, data.classes[labels[point]].colour);
    }
    ring(pen, x, y, 9, null);
    pen.restore();
  }

  // White around the ink, to be seen on any colour.
  function ring(pen, x, y, radius, fill) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.lineWidth = 4;
    pen.strokeStyle = "#fff";
    pen.stroke();
    if (fill) {
      pen.fillStyle = fill;
      pen.fill();
    }
    pen.lineWidth = 1.75;
    pen.strokeStyle = INK;
    pen.stroke();
  }

  // One channel is grey, three are RGB; of any other number the mean is shown.
  function paint(canvas, value) {
    const pen = canvas.getContext("2d");
    const picture = pen.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const values = Array.from({ length: channels }, (_, k) => value(channels * i + k));
      const mean = values.reduce((sum, one) => sum + one, 0) / channels;
      for (let k = 0; k < 3; k++) picture.data[4 * i + k] = channels === 3 ? values[k] : mean;
      picture.data[4 * i + 3] = 255;
    }
    pen.putImageData(picture, 0, 0);
  }

  function showOriginal(point) {
    element("holder").classList.toggle("empty", point < 0);
    element("label").replaceChildren(...(point < 0 ? [] : named(data.classes[labels[point]])));
    if (point < 0) delete element("original").dataset.point;
    else {
      element("original").dataset.point = point;
      paint(element("original"), (i) => images[point * width * height * channels + i]);
    }
  }

  function named({ name, colour }) {
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.style.background = colour;
    const text = document.createElement("b");
    text.textContent = text.title = name;
    return [dot, text];
  }

  const buttons = data.classes.map((entry, c) => {
    const button = document.createElement("button");
    const total = document.createElement("small");
    total.textContent = labels.reduce((sum, label) => sum + (label === c), 0).toLocaleString("en");
    button.type = "button";
    button.append(...named(entry), total);
    button.addEventListener("click", () => show(c, !shown[c]));
    return button;
  });

  function show(c, on) {
    for (const i of c === null ? shown.keys() : [c]) shown[i] = on;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", shown[i]));
    element("all").textContent = shown.includes(true) ? "Hide all" : "Show all";
    drawBackground();
    draw();
  }

  let waiting = false;
  function moveTo(x, y) {
    const clamp = (value, middle) => Math.min(middle + view.half, Math.max(middle - view.half, value));
    cross.x = clamp(x, view.x);
    cross.y = clamp(y, view.y);
    if (waiting) return;
    waiting = true; // several events between two frames cost one decode
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function pointed(event) {
    const box = plot.getBoundingClientRect();
    const unit = (2 * view.half) / inner();
    const x = view.x - view.half + (event.clientX - box.left - MARGIN.left) * unit;
    const y = view.y + view.half - (event.clientY - box.top - MARGIN.top) * unit;
    moveTo(x, y);
  }

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  plot.addEventListener("pointermove", pointed);
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    pointed(event);
  });
  plot.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const [dx, dy] = STEPS[event.key];
    const step = view.half * (event.shiftKey ? 0.1 : 0.01);
    moveTo(cross.x + step * dx, cross.y + step * dy);
  });
  window.addEventListener("hashchange", () => {
    const place = startingPlace();
    moveTo(place.x, place.y);
  });

  for (const name of ["decoded", "original"]) Object.assign(element(name), { width, height });
  element("legend").append(...buttons);
  element("all").addEventListener("click", () => show(null, !shown.includes(true)));
  window.decode = decode;
  resize();
  show(null, true);
  new ResizeObserver(resize).observe(plot);
})();
