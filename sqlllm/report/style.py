"""How a report looks: on a screen, light or dark, wide or narrow, and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1d2329; --soft: #59636e; --line: #d8dee4; --panel: #f5f7f9;
  --sent: #2f6fdd; --cached: #8fb4ee; --once: #d6e3f8; --good: #19703a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e4e8ec; --soft: #9aa5b1; --line: #303841; --panel: #1c2229;
  --sent: #6ea2f7; --cached: #3f6396; --once: #28374d; --good: #6fcf97; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .5rem 0; }
small, .soft, caption, dt { color: var(--soft); }
.state { font-weight: 600; }
.done, .open { color: var(--good); }
.failed, .budget, .interrupted { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dd { margin: 0; overflow-wrap: anywhere; }
.sums { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .75rem;
  list-style: none; margin: 1.5rem 0 .75rem; padding: 0; }
.sums li { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .8rem; }
.sums b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.bar { display: flex; height: .6rem; border-radius: .3rem; overflow: hidden; margin: .4rem 0;
  background: var(--once); print-color-adjust: exact; }
.bar i { display: block; }
.sent { background: var(--sent); } .cached { background: var(--cached); }
.once { background: var(--once); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem;
  margin: 0 .35rem 0 .8rem; print-color-adjust: exact; }
.key:first-child { margin-left: 0; }
section { border-top: 1px solid var(--line); padding: 1.25rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .25rem 0; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
td { overflow-wrap: anywhere; }
.answers th:first-child { width: 1%; }
.answers td:first-child { white-space: nowrap; }
.counts td { white-space: nowrap; overflow-wrap: normal; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  margin: .5rem 0; padding: .7rem .9rem; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font: .85rem/1.5 ui-monospace, monospace; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--soft); }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .75rem; }
@media (max-width: 40rem) { body { padding: 1.25rem .9rem 2rem; font-size: 15px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
@media print { :root { color-scheme: light; } body { max-width: none; padding: 0; font-size: 11pt; }
  section { break-inside: avoid; } .wide { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""
