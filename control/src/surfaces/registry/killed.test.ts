// SPDX-License-Identifier: Apache-2.0
/** Control is killed while a blob comes in. The next one knows how far it came, and goes on from there. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { cloneDatabase } from "#testing/clone-database.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf } from "#testing/installation.ts";
import { hashKey, makeKey } from "../../core/identity/index.ts";
import { basic, digestOf, registryCaller } from "./testing.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

it("an upload goes on after a kill, with the same session and without its first half sent again", async () => {
  await using database = await cloneDatabase();
  const folder = mkdtempSync(join(tmpdir(), "casemate-killed-"));
  const adminKey = makeKey("cm_admin_");
  const port = await freePort();
  const config = join(folder, "control.json");
  writeFileSync(
    config,
    JSON.stringify({
      http: { port },
      database: { socket: database.host, user: database.user, name: database.database, poolMax: 4 },
      link: { socket: join(folder, "link.sock") },
      ...{ folder, blobs: { folder: join(folder, "blobs") }, log: { level: "error" } },
      operator: { keyHash: hashKey(adminKey).toString("hex") },
    }),
  );
  const url = `http://127.0.0.1:${port}`;
  let control: ChildProcess | null = null;
  const start = async () => {
    control = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, config], {
      stdio: ["pipe", "inherit", "inherit"],
    });
    await expect
      .poll(
        () =>
          fetch(`${url}/livez`).then(
            ({ ok }) => ok,
            () => false,
          ),
        { timeout: 20_000 },
      )
      .toBe(true);
  };
  const kill = async () => {
    const gone = new Promise((resolve) => control!.once("exit", resolve));
    control!.kill("SIGKILL");
    await gone;
  };
  try {
    await start();
    const { body } = await callerOf(url, adminKey)("POST", "/api/v1/accounts/create", { name: "me" });
    const call = registryCaller(url, body.apiToken);
    const bytes = randomBytes(500_000);
    const digest = digestOf(bytes);
    const at = (await call("POST", `/v2/${body.accountId}/app/blobs/uploads/`)).headers.get("location")!;
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    socket.write(
      `PATCH ${at} HTTP/1.1\r\nhost: x\r\nauthorization: ${basic(body.apiToken)}\r\ncontent-length: 500000\r\n\r\n`,
    );
    socket.write(bytes.subarray(0, 200_000));
    await expect.poll(async () => (await call("GET", at)).headers.get("range")).toBe("0-199999");
    await kill();
    socket.destroy();
    await start();
    expect((await call("GET", at)).headers.get("range")).toBe("0-199999");
    const rest = await call("PATCH", at, bytes.subarray(200_000), { "content-range": "200000-499999" });
    expect([rest.status, rest.headers.get("range")]).toEqual([202, "0-499999"]);
    expect((await call("PUT", `${at}?digest=${digest}`)).status).toBe(201);
    const got = await call("GET", `/v2/${body.accountId}/app/blobs/${digest}`);
    expect(got.bytes.equals(bytes)).toBe(true);
  } finally {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);
