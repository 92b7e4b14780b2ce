// SPDX-License-Identifier: Apache-2.0
/**
 * The certificate on paper. The same proof gives the same bytes: its only time is the proof's own, so that two copies can be
 * compared, and a changed one seen. The fonts lie in it, so that it looks alike everywhere.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import PDFDocument from "pdfkit";
import { codeOf } from "./code.ts";
import { type Certificate, CHECK, FORM, NOT_CLAIMED, TITLE } from "./content.ts";

const MARGIN = 50;
const LABEL_WIDTH = 130;
const INK = "#1b1d20";
const SOFT = "#5a6069";
const LINE = "#d9dce0";
const GOOD = { ink: "#116534", ground: "#e8f5ec" };
const BAD = { ink: "#a3171f", ground: "#fcebec" };
const CODE_SIZE = 92;

const font = (address: string) => readFileSync(fileURLToPath(address));
const FONTS = {
  text: font(import.meta.resolve("@fontsource/ibm-plex-sans/files/ibm-plex-sans-latin-400-normal.woff")),
  strong: font(import.meta.resolve("@fontsource/ibm-plex-sans/files/ibm-plex-sans-latin-600-normal.woff")),
  fixed: font(import.meta.resolve("@fontsource/ibm-plex-mono/files/ibm-plex-mono-latin-400-normal.woff")),
};
type Face = keyof typeof FONTS;

export async function certificatePdf(certificate: Certificate): Promise<Buffer> {
  const when = new Date(certificate.destroyedAt);
  const doc = new PDFDocument({
    ...{ size: "A4", margin: MARGIN, bufferPages: true, lang: "en", displayTitle: true, pdfVersion: "1.7" },
    info: {
      Title: `${TITLE}: ${certificate.sessionId}`,
      Producer: "casemate",
      Creator: "casemate",
      CreationDate: when,
    },
  });
  for (const [name, bytes] of Object.entries(FONTS)) doc.registerFont(name, bytes);
  const parts: Buffer[] = [];
  doc.on("data", (part: Buffer) => parts.push(part));
  const ended = new Promise<void>((resolve, reject) => {
    doc.on("end", resolve);
    doc.on("error", reject);
  });
  write(doc, certificate);
  doc.end();
  await ended;
  return Buffer.concat(parts);
}

type Doc = InstanceType<typeof PDFDocument>;

function write(doc: Doc, certificate: Certificate): void {
  head(doc, certificate);
  for (const { heading, fields } of certificate.sections) {
    // A part of the form stays on one page.
    title(doc, heading, 20 * fields.length);
    for (const { label, value, applies } of fields) row(doc, label, value, applies ? INK : SOFT);
  }
  title(doc, "The eight steps, as measured", 80);
  for (const each of certificate.steps) step(doc, each);
  title(doc, "What is not claimed", 60);
  say(doc, NOT_CLAIMED);
  for (const { code, words } of certificate.limits) item(doc, `${words} (${code})`);
  title(doc, "Provisions that steps are related to", 60);
  say(doc, certificate.regulatory.notice);
  for (const each of certificate.regulatory.related) item(doc, each);
  title(doc, "How to check it", 60);
  say(doc, CHECK);
  say(doc, certificate.verifyUrl, "fixed");
  feet(doc, certificate.sessionId);
}

const right = (doc: Doc) => doc.page.width - MARGIN;
const width = (doc: Doc) => doc.page.width - 2 * MARGIN;
/** Begins a page when less than this is left of the present one. */
function need(doc: Doc, height: number): void {
  if (doc.y + height > doc.page.height - MARGIN - 14) doc.addPage();
}

function head(doc: Doc, { sessionId, complete, headline, summary, verifyUrl }: Certificate): void {
  const { size, runs } = codeOf(verifyUrl);
  const [x, side] = [right(doc) - CODE_SIZE, CODE_SIZE / size];
  for (const run of runs) doc.rect(x + run.x * side, MARGIN + run.y * side, run.width * side, side);
  doc.fill("#000");
  const inner = width(doc) - CODE_SIZE - 15;
  doc.font("strong").fontSize(22).fillColor(INK).text(TITLE, MARGIN, MARGIN, { width: inner });
  doc.font("fixed").fontSize(9).text(sessionId, { width: inner });
  doc.font("text").fontSize(9).fillColor(SOFT).text(`${FORM}.`, { width: inner });
  const tone = complete ? GOOD : BAD;
  const top = MARGIN + CODE_SIZE + 8;
  doc.font("text").fontSize(10);
  const height = 34 + doc.heightOfString(summary, { width: width(doc) - 24 });
  doc.rect(MARGIN, top, width(doc), height).fill(tone.ground);
  doc.rect(MARGIN, top, 4, height).fill(tone.ink);
  doc
    .font("strong")
    .fontSize(15)
    .fillColor(tone.ink)
    .text(headline, MARGIN + 14, top + 7);
  doc
    .font("text")
    .fontSize(10)
    .fillColor(INK)
    .text(summary, { width: width(doc) - 24 });
  doc.x = MARGIN;
  doc.y = top + height + 2;
}

/** With as much below it as keeps it from standing alone at the foot of a page. */
function title(doc: Doc, text: string, below: number): void {
  need(doc, 24 + below);
  doc.y += 10;
  doc.font("strong").fontSize(11.5).fillColor(INK).text(text, MARGIN, doc.y);
  line(doc);
}

function line(doc: Doc): void {
  doc
    .moveTo(MARGIN, doc.y + 1)
    .lineTo(right(doc), doc.y + 1)
    .lineWidth(0.5)
    .strokeColor(LINE)
    .stroke();
  doc.y += 3;
}

/** Hashes and keys are read letter by letter, and fit a line like this. */
const isCode = (value: string) => /^(sha256|base64):\S+$/.test(value);

function row(doc: Doc, label: string, value: string, ink: string): void {
  const inner = width(doc) - LABEL_WIDTH;
  const asText = () => doc.font("text").fontSize(9);
  const asValue = () => (isCode(value) ? doc.font("fixed").fontSize(8) : asText());
  const height = Math.max(
    asValue().heightOfString(value, { width: inner }),
    asText().heightOfString(label, { width: LABEL_WIDTH - 10 }),
  );
  need(doc, height + 4);
  const top = doc.y + 1;
  asText()
    .fillColor(SOFT)
    .text(label, MARGIN, top, { width: LABEL_WIDTH - 10 });
  asValue()
    .fillColor(ink)
    .text(value, MARGIN + LABEL_WIDTH, top, { width: inner });
  doc.x = MARGIN;
  doc.y = top + height + 1;
  line(doc);
}

function step(
  doc: Doc,
  { number, title: name, ok, time, measured, shows, skipped }: Certificate["steps"][number],
): void {
  need(doc, 60);
  doc.y += 3;
  const top = doc.y;
  const tone = ok ? GOOD : BAD;
  doc.font("strong").fontSize(9.5).fillColor(INK).text(`${number}. ${name}`, MARGIN, top);
  doc.fillColor(tone.ink).text(ok ? "ok" : "NOT OK", MARGIN, top, { width: width(doc), align: "right" });
  say(doc, time, "text", SOFT);
  for (const each of measured) item(doc, each);
  for (const each of skipped) item(doc, `Not measured: ${each}`);
  say(doc, ok ? shows : `Not shown: ${shows}`, "text", ok ? INK : BAD.ink);
  doc.y += 1;
  line(doc);
}

function say(doc: Doc, text: string, face: Face = "text", ink = INK): void {
  doc.font(face).fontSize(9);
  need(doc, doc.heightOfString(text, { width: width(doc) }));
  doc.fillColor(ink).text(text, MARGIN, doc.y, { width: width(doc) });
}

function item(doc: Doc, text: string): void {
  doc.font("text").fontSize(9);
  const inner = width(doc) - 12;
  need(doc, doc.heightOfString(text, { width: inner }));
  const top = doc.y;
  doc.fillColor(SOFT).text("–", MARGIN, top, { width: 10 });
  doc.fillColor(INK).text(text, MARGIN + 12, top, { width: inner });
  doc.x = MARGIN;
}

function feet(doc: Doc, sessionId: string): void {
  const { count } = doc.bufferedPageRange();
  for (let page = 0; page < count; page++) {
    doc.switchToPage(page);
    // Below the margin, where text would begin another page.
    doc.page.margins.bottom = 0;
    const y = doc.page.height - 36;
    doc.font("text").fontSize(8).fillColor(SOFT).text(sessionId, MARGIN, y, { lineBreak: false });
    doc.text(`Page ${page + 1} of ${count}`, MARGIN, y, {
      width: width(doc),
      align: "right",
      lineBreak: false,
    });
  }
}
