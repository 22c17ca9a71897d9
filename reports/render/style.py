"""The look of report.html: one style sheet, light and dark, screen and paper."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;
--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#566273;--line:#dfe3e8;--faint:#eef1f4;
--go:#1a7f37;--go-bg:#e6f4ea;--no:#c2261f;--no-bg:#fdecea;--un:#8a5a00;--un-bg:#fff4d9;
--off:#5b6673;--off-bg:#eceff2;--swarm:#1f6fd1;--kube:#c4580a;--band:#1a7f3722;--link:#0b5cad}
@media (prefers-color-scheme:dark){:root{
--bg:#0f1419;--card:#181f27;--ink:#e6eaef;--soft:#9ba7b4;--line:#2d3742;--faint:#212a33;
--go:#56d07a;--go-bg:#12331e;--no:#ff8079;--no-bg:#421a19;--un:#f0bd55;--un-bg:#3b2e0f;
--off:#a3afbb;--off-bg:#28323c;--swarm:#6cb0ff;--kube:#ffa35c;--band:#56d07a2b;--link:#79b8ff}}
*{box-sizing:border-box}
html{scroll-behavior:auto}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"Noto Sans","Liberation Sans",sans-serif;overflow-wrap:anywhere}
main,footer{max-width:1120px;margin:0 auto;padding:20px}
footer{color:var(--soft);font-size:13px;padding-top:0}
a{color:var(--link)}
h1{margin:0;font-size:24px;line-height:1.3;font-weight:650}
h2{margin:0 0 10px;font-size:17px;line-height:1.3;font-weight:650}
h3{margin:18px 0 6px;font-size:14px;font-weight:650}
p{margin:0 0 8px}
ul{margin:0;padding-left:18px}li{margin:0 0 6px}
code{font:12.5px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
.soft{color:var(--soft)}.small{font-size:13px}.nowrap{white-space:nowrap}.num{text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}
section,.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 20px;margin:0 0 16px}
.verdict{display:flex;gap:20px;align-items:center;border-left:8px solid var(--tone);padding:20px}
.verdict .word{flex:none;padding:10px 18px;border-radius:8px;background:var(--tone-bg);color:var(--tone);
font-size:26px;line-height:1.2;font-weight:750;letter-spacing:.02em;white-space:nowrap}
.verdict p{margin:6px 0 0}
.t-go{--tone:var(--go);--tone-bg:var(--go-bg)}.t-no{--tone:var(--no);--tone-bg:var(--no-bg)}
.t-un{--tone:var(--un);--tone-bg:var(--un-bg)}.t-off{--tone:var(--off);--tone-bg:var(--off-bg)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px 20px;margin:0 0 16px;
padding:12px 20px;background:var(--card);border:1px solid var(--line);border-radius:10px}
.facts dt{color:var(--soft);font-size:12.5px}.facts dd{margin:0;font-weight:600}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:0 16px;align-items:start}
.chip{display:inline-block;padding:1px 8px;border-radius:20px;background:var(--tone-bg);color:var(--tone);
font-size:12px;line-height:1.6;font-weight:650;white-space:nowrap}
.names code{white-space:nowrap}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;line-height:1.45}
caption{text-align:left;color:var(--soft);font-size:13px;padding:0 0 8px}
th,td{text-align:left;vertical-align:top;padding:6px 10px 6px 0;border-bottom:1px solid var(--line)}
thead th{color:var(--soft);font-weight:600;font-size:12.5px;white-space:nowrap;border-bottom-color:var(--soft)}
tbody th{font-weight:500}
tr:target,li:target{background:var(--un-bg)}
tr.group th{padding-top:14px;font-weight:650}
td.why{min-width:220px}
figure{margin:0 0 14px}figcaption{color:var(--soft);font-size:13px;margin:0 0 4px}
svg{display:block;width:100%;height:auto;max-width:100%}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,"Liberation Sans",sans-serif;fill:var(--ink)}
svg .tick{fill:var(--soft);font-size:11px}svg .head{font-weight:650}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .band{fill:var(--band);stroke:none}
svg .swarm{stroke:var(--swarm)}svg .kube{stroke:var(--kube)}svg .curve{fill:none;stroke-width:2}
svg .dash{stroke-dasharray:5 3}svg .limit{stroke:var(--no);stroke-width:2}
svg .fswarm{fill:var(--swarm);stroke:none}svg .fkube{fill:var(--kube);stroke:none}
svg .ttext{fill:var(--tone);font-weight:650}svg .tline{stroke:var(--tone);stroke-width:3}svg .tfill{fill:var(--tone)}
svg .bar{fill:var(--swarm)}svg .cached{fill:var(--off)}svg .failed{fill:var(--no)}svg .lane{fill:var(--faint)}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;color:var(--soft);font-size:13px;margin:0 0 8px}
.key svg{display:inline-block;width:26px;height:10px;vertical-align:middle;margin-right:6px}
.empty{color:var(--soft);font-style:italic}
@media (max-width:640px){.verdict{display:block}.verdict .word{display:inline-block;margin:0 0 10px}main{padding:12px}}
@media print{:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--faint:#eee;
--go:#1a7f37;--go-bg:#fff;--no:#b3211b;--no-bg:#fff;--un:#7a5000;--un-bg:#fff;--off:#444;--off-bg:#fff;
--swarm:#1f6fd1;--kube:#b04c05;--link:#000}
@page{margin:14mm}
body{font-size:11px}main,footer{max-width:none;padding:0}section,.card,.facts{border-color:#bbb;border-radius:0;padding:8px 12px;
margin-bottom:8px}.chip,.verdict .word{border:1px solid currentColor}table{font-size:10px}a{text-decoration:none}
h1{font-size:18px}h2{font-size:14px}.verdict .word{font-size:20px}
thead{display:table-header-group}tr,figure,li{break-inside:avoid}.newpage{break-before:page}.two{display:block}.wide{overflow:visible}}
""".strip()
