// SPDX-License-Identifier: Apache-2.0
/**
 * The page in a real browser, with a proof of a real installation. What leaves the browser is counted twice: by the browser
 * itself, and by a server that every name and address leads to.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeSpecimen } from "#evidence/proofs/specimen.ts";
import { type Caller, type Installation, startInstallation } from "#testing/installation.ts";
import { describeWith, programs } from "#testing/requirements.ts";

/** A browser's; this file is no browser's. */
interface Transfer {
  items: { add(file: File): void };
}

const CONFIG = { transparency: { everyMs: 50 }, sessions: { tiers: { free: { rpm: null } } } } as never;

describeWith([programs(["chromium"], "chromium")], "the page that checks proofs", () => {
  let casemate: Installation;
  let me: Caller;
  let browser: Browser;
  let proxy: Server;
  let folder = "";
  /** Requests that arrived anywhere. */
  let arrived: string[] = [];
  const files: Record<string, string> = {};

  beforeAll(async () => {
    casemate = await startInstallation({ config: CONFIG });
    me = await casemate.account();
    folder = await mkdtemp(join(tmpdir(), "casemate-verify-page-"));
    // Everything the browser asks of anybody comes here, and the page itself is handed on.
    proxy = createServer(async ({ method, url }, response) => {
      arrived.push(`${method} ${url}`);
      const reply = await fetch(new URL(new URL(url!).pathname, casemate.control.url), {
        headers: { "accept-encoding": "identity" },
      });
      response.writeHead(reply.status, Object.fromEntries(reply.headers));
      response.end(Buffer.from(await reply.arrayBuffer()));
    });
    proxy.on("connect", ({ url }, socket) => {
      arrived.push(`CONNECT ${url}`);
      socket.destroy();
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const server = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    browser = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      proxy: { server, bypass: "<-loopback>" },
      args: ["--no-sandbox"],
    });
    const { session_id: id } = (await me("POST", "/v1/sessions", {})).body;
    files.answer = (await me("DELETE", `/v1/sessions/${id}`)).text;
    files.issuers = (await casemate.anyone("GET", "/platform/v1/issuers")).text;
    let place = await me("GET", `/v1/proofs/${id}/transparency`);
    while (place.status === 202) {
      await sleep(20);
      place = await me("GET", `/v1/proofs/${id}/transparency`);
    }
    files.checkpoint = (await casemate.anyone("GET", "/log/checkpoint")).text;
    files.inclusion = place.text;
    files.logKeys = (await casemate.anyone("GET", "/log/keys")).text;
    files.spoilt = files.answer.replace('"jurisdiction":"', '"jurisdiction":"X');
  });
  afterAll(async () => {
    await browser?.close();
    proxy?.closeAllConnections();
    await new Promise((resolve) => proxy?.close(resolve));
    await casemate?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Dropped as a person drops them, not picked. */
  async function dropOn(page: Page, names: string[]): Promise<void> {
    const given = names.map((name) => ({ name: `${name}.json`, text: files[name]! }));
    const dragged = await page.evaluateHandle((list) => {
      const { DataTransfer } = globalThis as unknown as { DataTransfer: new () => Transfer };
      const transfer = new DataTransfer();
      for (const { name, text } of list) transfer.items.add(new File([text], name));
      return transfer;
    }, given);
    await page.dispatchEvent("#drop", "drop", { dataTransfer: dragged });
  }

  async function openPage(url: string, options: object = {}) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const sent: string[] = [];
    const faults: string[] = [];
    page.on("request", (request) => sent.push(request.url()));
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
    await page.goto(url);
    return { page, sent, faults, close: () => context.close() };
  }
  const headline = (page: Page) => page.locator(".verdict h2").textContent();

  test("judges at all levels, and sends nothing while and after a file is dropped", async () => {
    const { page, sent, faults, close } = await openPage("http://casemate.test/verify");
    expect(sent).toEqual(["http://casemate.test/verify"]);
    await sleep(500);
    arrived = arrived.filter((line) => line.includes("casemate.test"));
    expect(arrived).toEqual(["GET http://casemate.test/verify"]);
    [sent.length, arrived] = [0, []];

    await dropOn(page, ["answer"]);
    await expect.poll(() => headline(page)).toBe("The proof holds at level 1.");
    await dropOn(page, ["issuers"]);
    await expect.poll(() => headline(page)).toBe("The proof holds at level 2.");
    await dropOn(page, ["checkpoint", "inclusion", "logKeys"]);
    await expect.poll(() => headline(page)).toBe("The proof holds at level 3.");
    expect(await page.locator(".status.ok").count()).toBe(12);
    expect(await page.locator(".files li.unused").count()).toBe(0);
    await page.click("#again");
    await dropOn(page, ["spoilt"]);
    await expect.poll(() => headline(page)).toBe("The proof does not hold at level 1.");
    expect(await page.locator("tr", { hasText: "chain" }).first().textContent()).toContain("failed");
    await sleep(1000);

    expect(sent).toEqual([]);
    expect(arrived.filter((line) => line.includes("casemate.test"))).toEqual([]);
    expect(faults).toEqual([]);
    // The policy holds, and not only the good will of this script.
    const refused = await page.evaluate(() =>
      fetch("http://casemate.test/verify").then(
        () => "sent",
        () => "refused",
      ),
    );
    expect(refused).toBe("refused");
    await close();
  });

  test("judges as a saved file without a network", async () => {
    const saved = join(folder, "verify.html");
    await writeFile(saved, await (await fetch(`${casemate.control.url}/verify`)).text());
    const { page, faults, close } = await openPage(pathToFileURL(saved).href, { offline: true });
    await dropOn(page, ["answer", "issuers"]);
    await expect.poll(() => headline(page)).toBe("The proof holds at level 2.");
    expect(faults).toEqual([]);
    await close();
  });

  test("shows what a file says as text, whatever it says", async () => {
    const { page, close } = await openPage("http://casemate.test/verify");
    files["<img src=x onerror=alert(1)>"] = "<script>alert(1)</script>";
    files.loud = JSON.stringify({ cdp_version: "<b id=won>2.9</b>", chain: [] });
    await dropOn(page, ["<img src=x onerror=alert(1)>"]);
    await expect.poll(() => headline(page)).toContain("does not hold");
    await dropOn(page, ["loud"]);
    await expect.poll(() => page.locator(".notice.bad").textContent()).toContain("<b id=won>");
    expect(await page.locator("img, #won, main script").count()).toBe(0);
    await close();
  });

  test("says plainly that a destruction was not complete", async () => {
    const { page, close } = await openPage("http://casemate.test/verify");
    const specimen = makeSpecimen((parts) => {
      const changed = structuredClone(parts);
      changed.steps[0].ok = false;
      changed.steps[0].measured.tasks_found = 1;
      return changed;
    });
    files.incomplete = Buffer.from(specimen.bytes).toString();
    await dropOn(page, ["incomplete"]);
    const verdict = "The proof holds at level 1, and says that the destruction was not complete.";
    await expect.poll(() => headline(page)).toBe(verdict);
    expect(await page.locator(".verdict").getAttribute("class")).toBe("verdict open");
    await close();
  });
});
