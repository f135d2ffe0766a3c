"use strict";
// The layers that export.py lists, on typed arrays. No DOM: the tests run this file in node.

function base64Bytes(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// Typed arrays have the machine's byte order, which is little-endian wherever browsers run.
function base64Floats(text) {
  return new Float32Array(base64Bytes(text).buffer);
}

function dense(x, layer) {
  const out = Float32Array.from(layer.bias);
  const n = layer.outputs;
  for (let i = 0; i < layer.inputs; i++) {
    const value = x.values[i];
    if (value === 0) continue; // after a ReLU, many
    for (let o = 0, k = i * n; o < n; o++, k++) out[o] += value * layer.kernel[k];
  }
  return { values: out, shape: [n] };
}

function upsample(x) {
  const [h, w, c] = x.shape;
  const out = new Float32Array(4 * h * w * c);
  for (let i = 0, to = 0; i < 2 * h; i++) {
    for (let j = 0; j < 2 * w; j++) {
      const from = ((i >> 1) * w + (j >> 1)) * c;
      for (let k = 0; k < c; k++) out[to++] = x.values[from + k];
    }
  }
  return { values: out, shape: [2 * h, 2 * w, c] };
}

function conv(x, layer) {
  const [h, w, c] = x.shape;
  const { size, kernel, bias, outputs } = layer;
  const pad = layer.padding === "SAME" ? (size - 1) >> 1 : 0;
  const height = h + 2 * pad - size + 1;
  const width = w + 2 * pad - size + 1;
  const out = new Float32Array(height * width * outputs);
  for (let i = 0, to = 0; i < height; i++) {
    for (let j = 0; j < width; j++, to += outputs) {
      for (let o = 0; o < outputs; o++) out[to + o] = bias[o];
      for (let di = 0; di < size; di++) {
        const row = i + di - pad;
        if (row < 0 || row >= h) continue;
        for (let dj = 0; dj < size; dj++) {
          const column = j + dj - pad;
          if (column < 0 || column >= w) continue;
          const from = (row * w + column) * c;
          let k = (di * size + dj) * c * outputs;
          for (let a = 0; a < c; a++) {
            const value = x.values[from + a];
            for (let o = 0; o < outputs; o++) out[to + o] += value * kernel[k++];
          }
        }
      }
    }
  }
  return { values: out, shape: [height, width, outputs] };
}

function pointwise(f) {
  return (x) => ({ values: x.values.map(f), shape: x.shape });
}

const LAYERS = {
  dense,
  upsample,
  conv,
  reshape: (x, layer) => ({ values: x.values, shape: layer.shape }),
  relu: pointwise((v) => (v > 0 ? v : 0)),
  tanh: pointwise(Math.tanh),
  sigmoid: pointwise((v) => 1 / (1 + Math.exp(-v))),
};

// (x, y) -> the pixels' probabilities, (height, width, channels) in C order.
function makeDecoder(layers) {
  const steps = layers.map((layer) => {
    const weights = "kernel" in layer ? { kernel: base64Floats(layer.kernel), bias: base64Floats(layer.bias) } : {};
    return { ...layer, ...weights };
  });
  return (x, y) => {
    const start = { values: Float32Array.of(x, y), shape: [2] };
    return steps.reduce((state, step) => LAYERS[step.type](state, step), start).values;
  };
}
