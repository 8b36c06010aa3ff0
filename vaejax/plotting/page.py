"""The page of a report: its HTML, its look and the few lines that sort a table.

Everything is inside the page, and its policy forbids the browser to fetch anything.
"""

from string import Template

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --quiet: #5c6670; --page: #ffffff;
  --soft: #f4f6f8; --line: #d9dee3; --accent: #0072b2; --edge: #0003; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --quiet: #9aa5b0;
  --page: #14181c; --soft: #1d2328; --line: #343c44; --accent: #6cb8ea;
  --edge: #fff4; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.2rem 1.1rem 4rem; max-width: 80rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
  sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1rem; letter-spacing: -0.01em; }
h1, pre, nav, .lead, .cautions { max-width: 58rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 0.6rem; }
p { margin: 0 0 0.8rem; max-width: 44rem; overflow-wrap: anywhere; }
.lead { border-left: 4px solid var(--accent); background: var(--soft);
  padding: 0.9rem 1.1rem; border-radius: 0 6px 6px 0; font-size: 1.06rem; }
.lead p { margin: 0 0 0.45rem; max-width: none; }
.lead p:last-child { margin: 0; }
.lead small { color: var(--quiet); font-size: 0.86rem; }
.lead .open { color: var(--quiet); }
.cautions { margin: 0.9rem 0 0; font-size: 0.92rem; color: var(--quiet); }
.cautions summary { cursor: pointer; font-weight: 600; }
.cautions ul { margin: 0.3rem 0 0; padding-left: 1.2rem; }
nav { margin: 1.2rem 0 0; font-size: 0.92rem; color: var(--quiet); }
nav a { color: var(--accent); text-decoration: none; margin-right: 1.1rem;
  display: inline-block; padding: 0.15rem 0; }
nav a:hover { text-decoration: underline; }
code, pre { font: 0.86rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; background: var(--soft); border-radius: 4px; }
code { padding: 0.1em 0.3em; }
pre { padding: 0.7rem 0.9rem; border: 1px solid var(--line);
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.4rem 0 1rem; }
.wide { overflow-x: auto; margin: 0.4rem 0; }
.table { width: fit-content; max-width: 100%;
  background: linear-gradient(90deg, var(--page) 30%, transparent) left,
  linear-gradient(270deg, var(--page) 30%, transparent) right,
  linear-gradient(90deg, var(--edge), transparent) left,
  linear-gradient(270deg, var(--edge), transparent) right;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
  background-size: 3rem 100%, 3rem 100%, 1.1rem 100%, 1.1rem 100%; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.88rem;
  line-height: 1.4; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; text-align: left; white-space: nowrap; }
th { padding: 0; border-bottom: 2px solid var(--ink); vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); }
.long { white-space: normal; min-width: 20rem; max-width: 44rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--page); }
tbody tr:hover, tbody tr:hover td:first-child { background: var(--soft); }
.number { text-align: right; }
th button { all: unset; box-sizing: border-box; cursor: pointer; width: 100%;
  font-weight: 600; padding: 0.3rem 0.7rem; }
th button:hover { color: var(--accent); }
th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
figure { margin: 1.1rem 0 1.6rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: start;
  width: fit-content; max-width: 100%; padding: 0.9rem; margin: 1rem 0 1.4rem;
  border: 1px solid var(--line); border-radius: 6px; }
.figures figure { margin: 0; flex: 1 1 calc(0.75 * var(--width));
  max-width: min(100%, var(--width)); }
.figures img { display: block; max-width: 100%; height: auto; background: #ffffff;
  padding: 5px; cursor: zoom-in; }
.figures img.full { max-width: none; cursor: zoom-out; }
.sliders { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.slider { margin: 0; width: var(--width); max-width: 100%; }
.slider .window { overflow: hidden; aspect-ratio: var(--ratio); }
.slider img { display: block; width: 100%; image-rendering: pixelated;
  transform: translateY(calc(-100% * var(--at) / var(--count))); }
.slider label { display: block; font-size: 0.9rem; color: var(--quiet); }
.slider input { width: 100%; accent-color: var(--accent); }
figcaption { color: var(--quiet); font-size: 0.9rem; max-width: 44rem; }
@media (max-width: 40rem) { .figures { padding: 0.4rem; border-width: 1px 0; }
  .figures figcaption::after { content: " (tap to enlarge)"; } }
@page { size: landscape; margin: 12mm; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; } .wide { overflow: visible; } .table { background: none; }
  table { font-size: 7.5pt; } th, td, .long { white-space: normal; min-width: 0; }
  th, td { padding: 0.15rem 0.35rem; } th button { display: contents; }
  th:first-child, td:first-child { position: static; }
  .slider .window { aspect-ratio: auto; } .slider img { transform: none; }
  .slider input, .slider output { display: none; }
  .figures figure { flex-basis: 30%; } thead { break-inside: avoid; }
  img, tr, p, pre, .figures figure { break-inside: avoid; }
  h2, p { break-after: avoid; }
  th[aria-sort] button::after { content: ""; } }
"""

# Paper repeats the head of a table on every page, but not a button in it.
# A picture fits its place, and shows at full size after a click.
# A slider shows one row of its picture; paper shows all rows.
# Cells carry what they sort by in data-key; numbers sort as numbers, empty ones last.
SCRIPT = """
for (const picture of document.querySelectorAll(".figures img"))
  picture.addEventListener("click", () => picture.classList.toggle("full"));
for (const range of document.querySelectorAll(".slider input"))
  range.addEventListener("input", () => {
    range.closest("figure").style.setProperty("--at", range.value);
    const shown = range.dataset.labels.split(" ")[range.value];
    range.parentElement.querySelector("output").textContent = shown;
  });
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    const key = row => row.cells[head.cellIndex].dataset.key;
    const numeric = head.classList.contains("number");
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const sign = numeric ? x - y : x.localeCompare(y);
      return down ? -sign : sign;
    };
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...[...body.rows].sort(order));
  });
}
"""

PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
<div class="lead">$lead</div>
$cautions
$contents
<main>
$sections
</main>
<script>$script</script>
</body>
</html>
"""
)
