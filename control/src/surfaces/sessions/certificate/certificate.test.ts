// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import jsqr from "jsqr";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Limit } from "#evidence/proofs/document.ts";
import { makeSpecimen, type Specimen } from "#evidence/proofs/specimen.ts";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";
import { describeWith, programs } from "#testing/requirements.ts";
import { codeOf } from "./code.ts";
import { certificateOf } from "./content.ts";
import { certificateHtml, HTML_HEADERS } from "./html.ts";
import { certificatePdf } from "./pdf.ts";
import { plain } from "./plain.ts";

const VERIFY = "https://api.example.com/verify";
const HOSTILE = `6.1 <script>alert(1)</script> "'&amp; \u202egnp\u0000 \u00e9\u4e2d`;
const specimen = makeSpecimen();
const hostile = makeSpecimen((parts) => {
  const changed = structuredClone(parts);
  changed.context.host.kernel = HOSTILE;
  changed.context.data_classification = HOSTILE;
  changed.steps[2].skipped = [{ name: HOSTILE, reason: "</li></ul><img src=x onerror=alert(1)>" }];
  changed.steps[5].measured.probes[0] = { name: HOSTILE, expected: "<b>", observed: "<b>", ok: true };
  return changed;
});
const failed = makeSpecimen((parts) => {
  const changed = structuredClone(parts);
  changed.steps[1].ok = false;
  changed.steps[1].measured.mounts[0]!.open_fds_found = 3;
  changed.steps[2].ok = false;
  changed.steps[2].measured.read_back_ok = false;
  return changed;
});
const htmlOf = ({ cdp }: Specimen) => certificateHtml(certificateOf(cdp, VERIFY));
const pdfOf = ({ cdp }: Specimen) => certificatePdf(certificateOf(cdp, VERIFY));
const jsQR = jsqr as unknown as typeof jsqr.default;

describe("the page", () => {
  test("says what was destroyed, when, how each step checked it, and what is not claimed", () => {
    const page = htmlOf(specimen);
    const { session_id, destroyed_at, final_hash, attestation } = specimen.cdp;
    for (const text of [
      session_id,
      destroyed_at,
      final_hash,
      attestation.key_id,
      VERIFY,
      "Destruction complete",
    ])
      expect(page).toContain(text);
    expect(page.match(/<article>/g)?.length).toBe(8);
    for (const text of [
      "Tasks found afterwards in the session&#39;s namespaces: 0",
      "/session: files at the end: 3, 12,288 bytes; afterwards mount entries: 0, open descriptors: 0",
      "Passes of zeros: 1; files: 6, 24,576 bytes; skipped: 0 bytes",
      "Key of session_row: 256 bits",
      "canary_in_logs: expected: 0; observed: 0",
      "Not measured: freed_pages: init_on_free is off",
      "Contents of files present at the end were cleared. What was not measured is not part of that.",
      "<p>No task of the session runs.</p>",
    ])
      expect(page).toContain(text);
    for (const code of specimen.cdp.context.limits) expect(page).toContain(`<code>${code}</code>`);
    expect(page).toContain("no statement of compliance with any of them");
    expect(page).toContain("is related to HIPAA");
  });

  test("has words for every limit there is", () => {
    const limits = [...(Limit as unknown as { enum: Limit[] }).enum];
    const all = certificateOf(
      { ...specimen.cdp, context: { ...specimen.cdp.context, limits: limits as never } },
      VERIFY,
    );
    expect(all.limits.length).toBe(11);
    for (const { words } of all.limits) expect(words).toMatch(/^[A-Z].+\.$/);
  });

  test("fills no field of the form that does not apply", () => {
    const fields = certificateOf(specimen.cdp, VERIFY).sections.flatMap((section) => section.fields);
    const empty = fields.filter(({ applies }) => !applies);
    expect(empty.map(({ label }) => label)).toEqual(
      expect.arrayContaining(["Name, title", "Backup location", "Signature of a person"]),
    );
    for (const { value } of empty) expect(value).toMatch(/^Not applicable: /);
    expect(fields.find(({ label }) => label === "Data backed up")!.value).toMatch(/^Unknown/);
  });

  test("says first of all that a destruction was not complete, and claims no method then", () => {
    const page = htmlOf(failed);
    expect(page.indexOf("DESTRUCTION NOT COMPLETE")).toBeGreaterThan(0);
    expect(page.indexOf("DESTRUCTION NOT COMPLETE")).toBeLessThan(page.indexOf("Who performed it"));
    expect(page).toContain("Steps 2, 3 did not find what had to be found.");
    expect(page).toContain("Not shown: Contents of files present at the end were cleared.");
    expect(page.match(/NOT OK/g)?.length).toBe(2);
    expect(page).not.toContain("Destruction complete");
    expect(page).not.toContain("<dd>Clear</dd>");
    expect(page).not.toContain("memory given back");
  });

  test("shows hostile text as text: no markup, nothing that turns a line around, nothing unseen", () => {
    const page = htmlOf(hostile);
    expect(page).not.toMatch(/<script|<img|<b>|onerror=alert\(1\)>/i);
    expect(page).toContain(
      "6.1 &lt;script&gt;alert(1)&lt;/script&gt; &quot;&#39;&amp;amp; \\u{202E}gnp\\u{0} é\\u{4E2D}",
    );
    expect(page).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202a-\u202e\u2066-\u2069]/);
    // What a browser makes of it: as many elements of each kind as of a harmless one, but for the one probe's own text.
    const kinds = (text: string) =>
      [...text.matchAll(/<(\w+)/g)].map(([, name]) => name).filter((name) => name !== "li");
    expect(kinds(page)).toEqual(kinds(htmlOf(specimen)).filter((name) => name !== "li"));
  });

  test("may run nothing and load nothing", () => {
    const policy = HTML_HEADERS["content-security-policy"];
    expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; base-uri 'none'/);
    expect(htmlOf(specimen)).not.toMatch(/<script|\b(src|href|style|on\w+)=/i);
  });
});

test("text is printable whatever it was", () => {
  expect(plain("a\u00adb\u00a0c\u200bd\u{1f600}")).toBe("a\\u{AD}b\\u{A0}c\\u{200B}d\\u{1F600}");
  expect(plain("Grüße – «x»")).toBe("Grüße – «x»");
});

test("the code leads to the page that checks proofs", () => {
  const scale = 4;
  const { size, runs } = codeOf(VERIFY);
  const side = size * scale;
  const image = new Uint8ClampedArray(side * side * 4).fill(255);
  for (const { x, y, width } of runs)
    for (let row = y * scale; row < (y + 1) * scale; row++)
      image.fill(0, (row * side + x * scale) * 4, (row * side + (x + width) * scale) * 4);
  for (let index = 3; index < image.length; index += 4) image[index] = 255;
  expect(jsQR(image, side, side)?.data).toBe(VERIFY);
  // The page draws those squares and no others.
  const drawn = /<path d="([^"]+)"/.exec(htmlOf(specimen))![1]!;
  expect(drawn.match(/M/g)?.length).toBe(runs.length);
});

test("the same proof gives the same paper, byte for byte, at any time", async () => {
  const first = await pdfOf(specimen);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  expect((await pdfOf(specimen)).equals(first)).toBe(true);
  expect((await pdfOf(failed)).equals(first)).toBe(false);
  expect(first.subarray(0, 5).toString()).toBe("%PDF-");
  expect(first.toString("latin1")).not.toMatch(/\/JavaScript|\/OpenAction|\/URI/);
});

describeWith([programs(["pdftotext", "pdftoppm"], "poppler-utils")], "the paper", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "casemate-certificate-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function textOf(one: Specimen): Promise<string> {
    const path = join(folder, `${crypto.randomUUID()}.pdf`);
    await writeFile(path, await pdfOf(one));
    return spawnSync("pdftotext", ["-layout", path, "-"], { encoding: "utf8" }).stdout;
  }

  test("says what the page says", async () => {
    const text = await textOf(specimen);
    for (const said of [
      "Destruction complete",
      specimen.cdp.final_hash,
      "8. End state",
      "host_kernel_trusted",
      "Page 1 of",
    ])
      expect(text).toContain(said);
    expect(text.indexOf("What is not claimed")).toBeGreaterThan(text.indexOf("8. End state"));
    const bad = await textOf(failed);
    expect(bad.indexOf("DESTRUCTION NOT COMPLETE")).toBeLessThan(bad.indexOf("Who performed it"));
    expect(await textOf(hostile)).toContain("\\u{202E}gnp\\u{0} é\\u{4E2D}");
  });

  test("has the code where a telephone finds it", async () => {
    const path = join(folder, "code.pdf");
    await writeFile(path, await pdfOf(specimen));
    spawnSync("pdftoppm", ["-r", "150", "-f", "1", "-l", "1", "-singlefile", path, join(folder, "code")]);
    const ppm = await readFile(join(folder, "code.ppm"));
    const [head, width, height] = /^P6\s(\d+)\s(\d+)\s255\s/.exec(ppm.toString("latin1", 0, 40))!;
    const [columns, rows] = [Number(width), Number(height)];
    const image = new Uint8ClampedArray(columns * rows * 4).fill(255);
    for (let pixel = 0; pixel < columns * rows; pixel++)
      image.set(ppm.subarray(head.length + pixel * 3, head.length + pixel * 3 + 3), pixel * 4);
    expect(jsQR(image, columns, rows)?.data).toBe(VERIFY);
  });
});

describe("over HTTP", () => {
  let casemate: Installation;
  let me: Caller;
  let id = "";
  beforeAll(async () => {
    const identity = { publicUrl: "https://api.example.com" };
    casemate = await startInstallation({
      config: { identity, sessions: { tiers: { free: { rpm: null } } } } as never,
    });
    me = await casemate.account();
    id = (await me("POST", "/v1/sessions", {})).body.session_id;
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  test("there is none before the end, then its owner gets both forms and nobody else does", async () => {
    for (const form of ["html", "pdf"])
      expect((await me("GET", `/v1/proofs/${id}.${form}`)).status).toBe(
        (await me("GET", `/v1/proofs/${id}`)).status,
      );
    await me("DELETE", `/v1/sessions/${id}`);
    const proof = (await me("GET", `/v1/proofs/${id}`)).body;
    const page = await me("GET", `/v1/proofs/${id}.html`);
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    expect(page.headers.get("content-security-policy")).toBe(HTML_HEADERS["content-security-policy"]);
    expect(page.headers.get("cache-control")).toBe("no-store");
    expect(page.text).toBe(certificateHtml(certificateOf(proof, VERIFY)));
    const paper = await me("GET", `/v1/proofs/${id}.pdf`);
    expect([paper.status, paper.headers.get("content-type")]).toEqual([200, "application/pdf"]);
    expect(paper.text.slice(0, 5)).toBe("%PDF-");
    const stranger = await casemate.account();
    for (const form of ["html", "pdf"]) {
      const path = `/v1/proofs/${id}.${form}`;
      expect((await stranger("GET", path)).status).toBe(404);
      expect((await casemate.anyone("GET", path)).status).toBe(401);
      const etag = (await me("GET", path)).headers.get("etag")!;
      expect((await me("GET", path, undefined, { "if-none-match": etag })).status).toBe(304);
    }
    expect((await me("GET", `/v1/proofs/${id}.doc`)).status).toBe(404);
  });
});
