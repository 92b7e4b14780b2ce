// SPDX-License-Identifier: Apache-2.0
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { FakeDriver } from "#testing/fake-driver.ts";
import { startInstallation } from "#testing/installation.ts";

const SLOW_MS = 5_000;

/** An installation whose driver can be made to refuse or never to answer. */
async function ailing() {
  let ail: () => Promise<void> | void = () => {};
  const installation = await startInstallation({
    driver: (folder) =>
      new FakeDriver({
        folder: join(folder, "machines"),
        at: (point) => (point === "start" ? ail() : undefined),
      }),
  });
  const health = async () => {
    const from = performance.now();
    const { status, body } = await installation.anyone("GET", "/v1/health");
    expect(status).toBe(200);
    expect(performance.now() - from).toBeLessThan(SLOW_MS);
    return body;
  };
  return {
    health,
    becomes: (status: string, engines: object) =>
      vi.waitFor(async () => expect(await health()).toMatchObject({ status, engines }), {
        timeout: 30_000,
        interval: 200,
      }),
    ail: (how: typeof ail) => {
      ail = how;
    },
    [Symbol.asyncDispose]: () => installation[Symbol.asyncDispose](),
  };
}

it.concurrent("says that an engine fails, and that it is well again, without being asked to look", async () => {
  await using one = await ailing();
  expect(await one.health()).toMatchObject({ status: "healthy", engines: { eee: true, ave: true } });
  one.ail(() => {
    throw new Error("no sandbox today");
  });
  // Without a sandbox there is nothing to prove; the signer is well all the same.
  await one.becomes("degraded", { eee: false, ave: false, dire: true });
  one.ail(() => {});
  await one.becomes("healthy", { eee: true, ave: true });
}, 60_000);

it.concurrent("answers at once while an engine hangs, and calls it failed", async () => {
  await using one = await ailing();
  const hung = Promise.withResolvers<void>();
  one.ail(() => hung.promise);
  await one.becomes("degraded", { eee: false, dire: true });
  one.ail(() => {});
  hung.resolve();
  await one.becomes("healthy", { eee: true });
}, 60_000);
