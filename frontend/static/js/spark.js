// A line of a few points without axes, as the path of a small drawing.

export function sparkPath(values, width = 90, height = 26, pad = 2) {
  const finite = values.filter((value) => Number.isFinite(value));
  if (finite.length < 2) return { line: "", area: "" };
  const least = Math.min(...finite);
  const span = Math.max(...finite) - least || 1;
  const dots = finite.map((value, i) => {
    const x = (i / (finite.length - 1)) * width;
    const y = pad + (1 - (value - least) / span) * (height - 2 * pad);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = `M${dots.join("L")}`;
  return { line, area: `${line}L${width} ${height}L0 ${height}Z` };
}

export function drawSpark(svg, values) {
  const { line, area } = sparkPath(values);
  if (!svg.childElementCount) {
    for (const name of ["spark-area", "spark-line"]) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", name);
      svg.append(path);
    }
  }
  svg.children[0].setAttribute("d", area);
  svg.children[1].setAttribute("d", line);
}
