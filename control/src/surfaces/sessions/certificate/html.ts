// SPDX-License-Identifier: Apache-2.0
/** The certificate as a page: no script, nothing loaded, and it prints. Every text goes in through `html`, which escapes it. */
import { createHash } from "node:crypto";
import { type Code, codeOf } from "./code.ts";
import { type Certificate, CHECK, type Field, FORM, NOT_CLAIMED, TITLE } from "./content.ts";
import type { StepText } from "./steps.ts";

const ESCAPES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}
type Value = string | Markup | Markup[];

function html(parts: TemplateStringsArray, ...values: Value[]): Markup {
  const shown = values.map((value) => {
    if (Array.isArray(value)) return value.map(({ text }) => text).join("");
    return value instanceof Markup ? value.text : value.replace(/[&<>"']/g, (each) => ESCAPES[each]!);
  });
  return new Markup(parts.reduce((text, part, at) => text + part + (shown[at] ?? ""), ""));
}

const STYLE = `:root{color-scheme:light dark;--ink:#1b1d20;--soft:#5a6069;--line:#d9dce0;--ground:#fff;--good:#116534;--good-ground:#e8f5ec;--bad:#a3171f;--bad-ground:#fcebec}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a2a9b3;--line:#353a41;--ground:#17191c;--good:#7bd69b;--good-ground:#16301f;--bad:#ff9b9f;--bad-ground:#3a1a1d}}
*{box-sizing:border-box}
body{margin:0;font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:var(--ground)}
main{max-width:50rem;margin:0 auto;padding:2.5rem 1.25rem}
header{display:flex;gap:1.5rem;justify-content:space-between;align-items:flex-start}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}
h2{font-size:1.05rem;margin:1.8rem 0 .4rem}
h3{font-size:1rem;margin:0;display:flex;gap:.75rem;justify-content:space-between}
p{margin:.3rem 0}
.soft,.none dd{color:var(--soft)}
svg{flex:none;width:8rem;height:8rem;background:#fff}
.outcome{margin:1.25rem 0;padding:.9rem 1.2rem;border-radius:.5rem;border-left:.35rem solid}
.outcome strong{display:block;font-size:1.25rem}
.outcome span{color:var(--ink)}
.good{color:var(--good)}.bad{color:var(--bad)}
.outcome.good{background:var(--good-ground)}.outcome.bad{background:var(--bad-ground)}
dl{margin:0;border-top:1px solid var(--line)}
dl div{display:grid;grid-template-columns:13rem 1fr;gap:0 1rem;padding:.3rem 0;border-bottom:1px solid var(--line)}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
article{padding:.7rem 0;border-bottom:1px solid var(--line);break-inside:avoid}
ul{margin:.3rem 0;padding-left:1.2rem;overflow-wrap:anywhere}
code{font:.875em/1.4 ui-monospace,Menlo,Consolas,monospace}
@media (max-width:40rem){dl div{display:block}header{display:block}svg{margin-top:.75rem}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--ground:#fff}main{padding:0;max-width:none}}
`;
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(STYLE).digest("base64")}'`,
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join("; ");

/** Of an answer that holds what an owner alone may see. */
export const HTML_HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
};

export function certificateHtml(certificate: Certificate): string {
  const { sessionId, complete, headline, summary, sections, steps, limits, regulatory, verifyUrl } =
    certificate;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${TITLE}: ${sessionId}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<main>
<header><div>
<h1>${TITLE}</h1>
<p>Session <code>${sessionId}</code></p>
<p class="soft">${FORM}.</p>
</div>${squares(codeOf(verifyUrl), verifyUrl)}</header>
<p class="outcome ${complete ? "good" : "bad"}"><strong>${headline}</strong><span>${summary}</span></p>
${sections.map(
  ({ heading, fields }) => html`<section><h2>${heading}</h2><dl>${fields.map(row)}</dl></section>
`,
)}
<section><h2>The eight steps, as measured</h2>
${steps.map(step)}</section>
<section><h2>What is not claimed</h2>
<p>${NOT_CLAIMED}</p>
<ul>${limits.map(({ code, words }) => html`<li>${words} <code>${code}</code></li>`)}</ul></section>
<section><h2>Provisions that steps are related to</h2>
<p>${regulatory.notice}</p>
<ul>${regulatory.related.map((each) => html`<li>${each}</li>`)}</ul></section>
<section><h2>How to check it</h2>
<p>${CHECK}</p>
<p><code>${verifyUrl}</code></p></section>
</main>
</body>
</html>
`.text;
}

const row = ({ label, value, applies }: Field) =>
  html`<div${new Markup(applies ? "" : ' class="none"')}><dt>${label}</dt><dd>${value}</dd></div>`;

const step = ({ number, title, ok, time, measured, shows, skipped }: StepText) =>
  html`<article><h3><span>${String(number)}. ${title}</span><span class="${ok ? "good" : "bad"}">${ok ? "ok" : "NOT OK"}</span></h3>
<p class="soft">${time}</p>
<ul>${measured.map((line) => html`<li>${line}</li>`)}${skipped.map((line) => html`<li>Not measured: ${line}</li>`)}</ul>
<p>${ok ? shows : html`<span class="bad">Not shown: ${shows}</span>`}</p></article>
`;

function squares({ size, runs }: Code, label: string): Markup {
  const path = runs.map(({ x, y, width }) => `M${x} ${y}h${width}v1h-${width}z`).join("");
  return html`<svg viewBox="0 0 ${String(size)} ${String(size)}" shape-rendering="crispEdges" role="img" aria-label="QR code of ${label}"><path d="${path}" fill="#000"/></svg>`;
}
