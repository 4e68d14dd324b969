// Charts as a picture: as they are drawn in the page, on its ground, below a title and the job's name.
import { css } from "./metric_chart.js";

const PAD = 24;
const HEAD = 76; // of the picture
const CAPTION = 40; // of each chart
const FONT = '"Inter Variable", system-ui, sans-serif';

/** A PNG of `charts` (MetricChart), one below the other. Raise Error when the browser cannot make one. */
export async function pictureOf(charts, { title, name }) {
  const ratio = Math.max(...charts.map((one) => one.chart.currentDevicePixelRatio));
  const sizes = charts.map(({ chart }) => ({ width: chart.width, height: chart.height }));
  const width = Math.max(...sizes.map((one) => one.width)) + 2 * PAD;
  const height = HEAD + sizes.reduce((sum, one) => sum + one.height + CAPTION + PAD, 0);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = css("--surface");
  pen.fillRect(0, 0, width, height);
  write(pen, name, PAD, 36, { size: 18, weight: 640, colour: css("--text"), most: width - 2 * PAD });
  write(pen, title, PAD, 58, { size: 13, colour: css("--text-2"), most: width - 2 * PAD });
  let top = HEAD;
  charts.forEach((one, i) => {
    write(pen, one.spec.title, PAD, top + 22, { size: 14, weight: 600, colour: css("--text"), most: width / 2 });
    legend(pen, one, width - PAD, top + 22);
    pen.drawImage(one.chart.canvas, PAD, top + CAPTION, sizes[i].width, sizes[i].height);
    top += sizes[i].height + CAPTION + PAD;
  });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("This browser could not draw the picture. Make the window smaller and try again.");
  return blob;
}

function write(pen, text, x, y, { size, weight = 450, colour, most, align = "left" }) {
  Object.assign(pen, { font: `${weight} ${size}px ${FONT}`, fillStyle: colour, textAlign: align });
  pen.fillText(shortened(pen, text, most), x, y);
}

/** The text, cut with an ellipsis where it is wider than `most`. */
function shortened(pen, text, most) {
  if (pen.measureText(text).width <= most) return text;
  const letters = [...text];
  while (letters.length && pen.measureText(`${letters.join("")}…`).width > most) letters.pop();
  return `${letters.join("")}…`;
}

/** Names of the lines with their newest values, from the right edge leftwards. */
function legend(pen, one, right, y) {
  const { metrics } = one.board;
  let x = right;
  for (const line of one.spec.lines.filter((each) => metrics.has(each.name)).reverse()) {
    const text = `${line.label}  ${one.spec.format(metrics.get(line.name).last.y)}`;
    write(pen, text, x, y, { size: 12.5, colour: css("--text-2"), most: 320, align: "right" });
    x -= pen.measureText(text).width + 20;
    pen.fillStyle = one.colour(line);
    pen.fillRect(x, y - 5, 14, 3);
    x -= 16;
  }
}
