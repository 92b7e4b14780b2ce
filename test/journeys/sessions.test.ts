// SPDX-License-Identifier: Apache-2.0
/**
 * The first story, as a newcomer lives it: `./casemate up`, the README's lines pasted into a shell,
 * the proof verified by somebody else's copy of the verifier, and a clean end.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { commandLine, findProcesses, statusOf } from "#testing/process-status.ts";
import { bubblewrap, describeWith, root } from "#testing/requirements.ts";
import { type RunningCasemate, startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const NO_CAPABILITY = "0000000000000000";

describeWith([bubblewrap], "casemate up", () => {
  let casemate: RunningCasemate;
  beforeAll(async () => {
    casemate = await startCasemate();
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  it("prints the key it wrote for its owner only, and what runs here", async () => {
    const path = join(casemate.state, "admin.key");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await expect.poll(casemate.output).toContain(readFileSync(path, "utf8").trim());
    expect(casemate.output()).toMatch(/isolation process: ready \(limits by /);
  });

  it("runs the README's example as it stands", () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const block = /## A sealed session[\s\S]*?```sh\n([\s\S]*?)```/.exec(readme)?.[1];
    expect(block, "README has a block under its heading").toBeDefined();
    const folder = mkdtempSync(join(tmpdir(), "casemate-readme-"));
    const script = block!
      .replaceAll("http://127.0.0.1:8787", casemate.url)
      .replaceAll("./casemate", join(ROOT, "casemate"));
    const { status, stdout, stderr } = spawnSync("sh", ["-e", "-c", script], {
      cwd: folder,
      encoding: "utf8",
      timeout: 60_000,
    });
    rmSync(folder, { recursive: true, force: true });
    expect([status, stderr]).toEqual([0, expect.any(String)]);
    expect(stdout).toContain('"exit_code":0');
    expect(stdout).toContain('"valid":true,"level":2,"outcome":"complete"');
    expect(stdout).toContain("The proof holds at level 2.");
  });

  it("refuses a second process on its state folder, and names the first", () => {
    const args = ["up", "--state", casemate.state, "--port", "1"];
    const { status, stderr } = spawnSync(join(ROOT, "casemate"), args, { encoding: "utf8", timeout: 30_000 });
    expect([status, stderr]).toEqual([
      1,
      expect.stringContaining(`held by another casemate (pid ${casemate.pid})`),
    ]);
  });

  it("tells its health and rotates its keys through the command line", () => {
    const ask = (...args: string[]) =>
      spawnSync(join(ROOT, "casemate"), [...args, "--state", casemate.state, "--json"], {
        encoding: "utf8",
        timeout: 30_000,
      });
    expect(JSON.parse(ask("health").stdout).status).toBe("healthy");
    expect(JSON.parse(ask("keys", "rotate").stdout)).toMatchObject({
      key_id: expect.stringMatching(/^kek_/),
    });
    expect(JSON.parse(ask("keys", "rotate", "--issuer").stdout)).toEqual({ issuers: 2 });
  });

  it("verifies proofs of the new issuer and of the one before", async () => {
    const me = await casemate.signUp();
    const proofs: string[] = [];
    for (const rotate of [true, false]) {
      const { session_id: id } = (await me("POST", "/v1/sessions", {})).body;
      proofs.push((await me("DELETE", `/v1/sessions/${id}`)).text);
      if (rotate)
        spawnSync(join(ROOT, "casemate"), ["keys", "rotate", "--issuer", "--state", casemate.state]);
    }
    const issuerOf = (text: string) => JSON.parse(text).cdp.attestation.certificate.issuer_id;
    expect(issuerOf(proofs[0]!)).not.toBe(issuerOf(proofs[1]!));
    const levels = async () =>
      (await Promise.all(proofs.map((text) => me("POST", "/v1/verify", text)))).map(({ body }) => body.level);
    // The list is read again every few seconds.
    await expect.poll(levels, { timeout: 20_000, interval: 1000 }).toEqual([2, 2]);
  });

  describeWith([root], "as root", () => {
    const only = (...texts: string[]) => {
      const found = findProcesses(...texts);
      expect(found).toHaveLength(1);
      return found[0]!;
    };

    it("runs control as a uid of its own, without a capability or a way to gain one", () => {
      const status = statusOf(only("control/src/main.ts", casemate.state));
      expect(new Set(status.uids)).toEqual(new Set([63_010]));
      expect(status.groups).toEqual([]);
      expect(new Set(Object.values(status.capabilities))).toEqual(new Set([NO_CAPABILITY]));
      expect(status.noNewPrivs).toBe(true);
    });

    it("hides the Docker socket, other parts' files and the home folder from control", () => {
      const pid = only("control/src/main.ts", casemate.state);
      const inside = (path: string) => existsSync(`/proc/${pid}/root${path}`);
      expect(inside("/usr/bin")).toBe(true);
      for (const path of [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/root",
        "/home",
        `${casemate.state}/host`,
        `${casemate.state}/signer`,
        `${casemate.state}/keys`,
        `${casemate.state}/admin.key`,
      ]) {
        expect([path, inside(path)]).toEqual([path, false]);
      }
      // The files of other uids that it can see at all, it cannot open: tried as that uid, in its view.
      const attempt = [
        "nsenter",
        "-t",
        String(pid),
        "-m",
        "setpriv",
        "--reuid=63010",
        "--regid=63010",
        "--clear-groups",
        "cat",
      ];
      for (const path of [
        `${casemate.state}/postgres/data/PG_VERSION`,
        `${casemate.state}/admin.key`,
        "/proc/1/environ",
      ]) {
        expect([path, spawnSync(attempt[0]!, [...attempt.slice(1), path]).status]).not.toEqual([path, 0]);
      }
    });

    it("gives control a role in the database that is no superuser", async () => {
      const client = new pg.Client({
        host: join(casemate.state, "postgres/socket"),
        user: "casemate",
        database: "casemate",
      });
      await client.connect();
      const { rows } = await client.query(
        "select distinct a.usename, r.rolsuper from pg_stat_activity a join pg_roles r on r.rolname = a.usename where a.application_name like 'casemate%'",
      );
      await client.end();
      expect(rows).toEqual([{ usename: "casemate_control", rolsuper: false }]);
    });

    it("runs PostgreSQL as another uid, on a unix socket and no port", () => {
      const pid = Number(
        readFileSync(join(casemate.state, "postgres/data/postmaster.pid"), "utf8").split("\n")[0],
      );
      expect(statusOf(pid).uids[0]).toBe(63_013);
      expect(commandLine(pid)).toContain("listen_addresses=\0");
    });

    it("gives the signer and the prober uids of their own and no new privileges", () => {
      const all = [
        ["host/signer/main.ts", 63_012, 0n] as const,
        ["drivers/sandbox/prober/main.ts", 63_011, (1n << 19n) | (1n << 2n)] as const,
      ];
      for (const [entry, uid, kept] of all) {
        const mine = findProcesses(entry)
          .map(statusOf)
          .filter((status) => status.uids[0] === uid);
        expect([entry, mine.length]).not.toEqual([entry, 0]);
        for (const status of mine) {
          expect(BigInt(`0x${status.capabilities.Eff}`)).toBe(kept);
          expect(BigInt(`0x${status.capabilities.Bnd}`) & ~kept).toBe(0n);
          expect(status.noNewPrivs).toBe(true);
        }
      }
    });
  });
});

describeWith([bubblewrap], "the end of casemate up", () => {
  it("leaves no process behind on SIGTERM, and sessions end with proofs that are there at the next start", async () => {
    const first = await startCasemate({ keepState: true });
    const me = await first.signUp();
    const { session_id: id } = (await me("POST", "/v1/sessions", {})).body;
    expect(await first.end("SIGTERM")).toBe(0);
    expect(findProcesses(first.state)).toEqual([]);

    await using second = await startCasemate({ state: first.state, port: first.port });
    const ended = await me("GET", `/v1/sessions/${id}?wait=ended&timeout=20`);
    expect(ended.body).toMatchObject({ status: "destroyed", end_reason: "shutdown" });
    expect((await me("GET", `/v1/proofs/${id}`)).status).toBe(200);
    expect(second.output()).not.toContain("shown this once");
  });
});
