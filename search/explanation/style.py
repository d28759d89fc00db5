"""The style sheet of the page: light or dark as the reader's setting says."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #24292f; --muted: #636c76;
  --line: #d5d9de; --panel: #f6f8fa; --heat: #2f73e0; --more: #d97d1e; --less: #2f73e0;
  --good: #1a7f37; --bad: #c9302c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --ink: #e6e9ee; --muted: #9aa4b2;
  --line: #3d444f; --panel: #1c2128; --heat: #4c8dff; --more: #e08e3a; --less: #4c8dff;
  --good: #57c274; --bad: #f2716b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 20px 24px 48px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  "Noto Sans CJK JP", sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 40px 0 6px;
  padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 4px; }
h4 { font-size: 14px; margin: 10px 0 4px; }
p { margin: 4px 0 8px; max-width: 92ch; } .muted, p.note { color: var(--muted); }
ul { margin: 6px 0; padding-left: 20px; } li { margin: 3px 0; max-width: 92ch; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0 0; font-size: 14px; }
a { color: var(--heat); text-decoration: none; } a:hover { text-decoration: underline; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; margin: 14px 0; }
.fact { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 8px 14px; min-width: 128px; }
.fact b { display: block; font-size: 19px; font-variant-numeric: tabular-nums; }
.fact span { color: var(--muted); font-size: 13px; }
.scroll { overflow-x: auto; margin: 6px 0 12px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 4px 12px 4px 6px; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; font-size: 13px; vertical-align: bottom; }
th.n, td.n { text-align: right; } td.n { white-space: nowrap; }
td.keep { white-space: nowrap; }
table.wide { width: 100%; }
td.text { min-width: 260px; overflow-wrap: anywhere; }
table.heat th, table.heat td { border: 1px solid var(--paper); padding: 4px 8px; text-align: center;
  white-space: nowrap; }
table.heat th { text-align: right; font-weight: 500; } table.heat thead th { text-align: center; }
table.heat td { min-width: 46px; background: color-mix(in srgb, var(--tone, var(--heat))
  calc(var(--v) * 62%), var(--panel)); }
table.heat.tall thead th:not(:first-child) { writing-mode: vertical-rl; transform: rotate(180deg);
  text-align: left; } table.heat.tall td { min-width: 32px; padding: 4px 5px; }
table.heat td.none { color: var(--muted); background: none; }
table.heat td.own { outline: 1px solid var(--muted); outline-offset: -2px; }
.grid { display: flex; flex-wrap: wrap; gap: 8px 28px; align-items: flex-start; }
.bar { display: inline-block; height: 10px; border-radius: 2px; background: var(--heat);
  vertical-align: middle; }
.bar.bad { background: var(--bad); } .bar.good { background: var(--good); }
.pale { opacity: .5; }
.bad { color: var(--bad); } .good { color: var(--good); }
td .bad, td .good { white-space: nowrap; }
.tokens { line-height: 1.9; overflow-wrap: anywhere; margin: 4px 0; max-width: 100ch; }
.tokens span { border-radius: 3px; padding: 1px 0; }
.tokens span.b { margin-left: .32em; } .tokens span.special { color: var(--muted);
  font-size: 12px; }
.tokens span.place { outline: 2px solid var(--ink); }
.tokens span.more { background: color-mix(in srgb, var(--more) calc(var(--v) * 70%), transparent); }
.tokens span.less { background: color-mix(in srgb, var(--less) calc(var(--v) * 70%), transparent); }
.tokens span.runs { background: color-mix(in srgb, var(--heat) 38%, transparent); }
.tokens span.passes { color: var(--muted); }
.example { border: 1px solid var(--line); border-radius: 8px; padding: 8px 14px; margin: 10px 0; }
.example p { margin: 2px 0; }
.chip { display: inline-block; background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; padding: 0 8px; margin: 2px 3px 2px 0; font-size: 13px;
  white-space: nowrap; }
.chip i { color: var(--muted); font-style: normal; }
svg { max-width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--muted); } svg .axis { stroke: var(--line); } svg .diagonal {
  stroke: var(--muted); stroke-dasharray: 4 4; }
svg .fill { fill: var(--heat); } svg .dot { fill: var(--heat); fill-opacity: .55; }
svg .sure { stroke: var(--ink); stroke-width: 2.5; }
img.picture { image-rendering: pixelated; border: 1px solid var(--line); }
.mosaic { display: grid; width: 168px; height: 168px; }
.mosaic span.more { background: color-mix(in srgb, var(--more) calc(var(--v) * 100%),
  var(--panel)); }
.mosaic span.less { background: color-mix(in srgb, var(--less) calc(var(--v) * 100%),
  var(--panel)); }
"""
