"""How the report looks: light and dark, on a phone and on paper. One text, so that its digest can stand in the page."""

from __future__ import annotations

from certify.present.charts.palette import DARK, LIGHT, rules
from certify.present.svg import FONTS

_LAYOUT = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;font:16px/1.5 FONTS}
main{max-width:1060px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.9rem;line-height:1.2;margin:.2em 0 .1em;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.4em 0 .5em;padding-top:.5em;border-top:2px solid}
h3{font-size:1.05rem;margin:1.6em 0 .3em}
p,li{max-width:46em;overflow-wrap:anywhere}
ul{padding-left:1.2em}
nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2em 1.1em}
a{color:inherit}
small{display:block;font-size:.82em}
code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.9em;overflow-wrap:anywhere}
pre{margin:.6em 0;padding:.7em .9em;border:1px solid;border-radius:8px;white-space:pre-wrap;overflow-wrap:anywhere}
svg{display:block;max-width:100%;height:auto}
.top{display:grid;grid-template-columns:minmax(0,440px) minmax(0,1fr);gap:32px;align-items:start;margin-top:20px}
.label svg{width:100%}
.letter{font-size:4.4rem;line-height:1;font-weight:900;margin:0}
.claim{font-size:1.15rem;margin:.5em 0}
.claim b{font-size:1.5rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:28px 40px;margin-top:1em}
figure{margin:0;min-width:0;max-width:560px}
figure svg{width:100%}
figcaption{font-weight:700;margin:0 0 .4em}
.scroll{overflow-x:auto;margin:.6em 0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;vertical-align:top;padding:.42em .9em .42em 0;border-bottom:1px solid}
tbody th{font-weight:400}
.numbers th:not(:first-child),.numbers td{text-align:right;white-space:nowrap}
.numbers td svg{margin-left:auto;max-width:none}
dl{display:grid;grid-template-columns:minmax(7em,auto) minmax(0,1fr);gap:.35em 1.2em;margin:.6em 0;font-size:.93rem}
dt{font-weight:700}
dd{margin:0;overflow-wrap:anywhere}
.warning{border:2px dashed;border-radius:10px;padding:.7em 1em;max-width:46em}
.fail{font-weight:700}
footer{margin-top:4em;font-size:.85rem}
@media (max-width:760px){main{padding:14px 14px 40px}.top{grid-template-columns:1fr;gap:16px}h1{font-size:1.5rem}
table{font-size:.82rem}th,td{padding-right:.55em}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5em}}
@media print{main{max-width:none;padding:0}nav{display:none}section,figure,tr{break-inside:avoid}
body{font-size:10.5pt}.scroll{overflow:visible}h2{break-after:avoid}}
"""

_COLOURS = """
body{{background:{paper};color:{ink}}}
small,figcaption+p,.quiet,thead th,dt{{color:{quiet}}}
th,td,pre{{border-color:{grid}}}
h2{{border-color:{ink}}}
"""


def style() -> str:
    """The page's CSS; dark colours only on a screen, so that a print is dark on white."""
    light, dark = (rules(colours) + _COLOURS.format(**colours) for colours in (LIGHT, DARK))
    return f"{_LAYOUT.replace('FONTS', FONTS)}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"
