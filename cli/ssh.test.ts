// SPDX-License-Identifier: Apache-2.0
/** `casemate ssh` reaches the machine of its record and no other, with the program `ssh` of this computer. */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sshConfig } from "#embedded/names/words.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { ed25519Pair } from "#testing/ssh-keys.ts";

const CASEMATE = new URL("../casemate", import.meta.url).pathname;
const openssh = {
  met: spawnSync("ssh", ["-V"]).status === 0,
  reason: "needs ssh (apt-get install openssh-client)",
};

describeWith([openssh], "casemate ssh", () => {
  const folder = mkdtempSync(join(tmpdir(), "casemate-ssh-command-"));
  const driver = new AttestedDriver();
  const pair = ed25519Pair();
  let casemate: Installation;
  let key: string;
  let name: string;
  let hostname: string;

  beforeAll(async () => {
    const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
    driver.images.set(image.sha256, image.metadata);
    casemate = await startInstallation({
      kept: driver,
      ssh: { addresses: "127.74.0.0/16", port: await freePort(), redirect: false },
      config: { imagesFolder: folder },
    });
    const admin = callerOf(casemate.url, casemate.adminKey);
    key = (await admin("POST", "/platform/v1/tenants", { name: "acme" })).body.api_key;
    writeFileSync(join(folder, "id"), pair.private, { mode: 0o600 });
    writeFileSync(join(folder, "key"), `${key}\n`, { mode: 0o600 });
    const acme = callerOf(casemate.url, key);
    const made = await acme("POST", "/v1/instances", { agent: "none", public_key: pair.public });
    ({ name, hostname } = made.body.data);
    await acme("GET", `/v1/instances/${name}?wait=ready&timeout=30`);
  });
  afterAll(async () => {
    await casemate[Symbol.asyncDispose]();
    for (const id of [...driver.running.keys()]) await driver.remove(id);
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (words: string[], env: Record<string, string> = { CASEMATE_INSTANCES_KEY: key }) =>
    promisify(execFile)(CASEMATE, ["ssh", "--url", casemate.url, "-i", join(folder, "id"), ...words], {
      ...{ timeout: 60_000, env: { ...process.env, CASEMATE_INSTANCES_KEY: "", ...env } },
    }).then(
      ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );

  it("runs a command there, whatever words it has, with the key from a file or the environment", async () => {
    const said = { code: 0, stdout: `${hostname}: uname -a --help\n` };
    expect(await run([name, "uname", "-a", "--help"])).toMatchObject(said);
    expect(await run(["--key-file", join(folder, "key"), name, "uname", "-a", "--help"], {})).toMatchObject(
      said,
    );
  });

  it("says what is wrong without a key, with a wrong one, and for a name that nobody has", async () => {
    expect(await run([name, "true"], {})).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--key-file"),
    });
    const wrong = { CASEMATE_INSTANCES_KEY: "ca_aaaaaaaa_aaaaaaaaaaaaaaaaaa" };
    expect(await run([name, "true"], wrong)).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining("missing or invalid Bearer token") },
    });
    expect(await run(["aaaaaaaa", "true"])).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining("There is no such instance") },
    });
  });

  it("an ssh with the lines that up prints reaches it by its host name, and asks about no key", async () => {
    const ssh = (target: string) => {
      const config = join(folder, "config");
      const lines = sshConfig("casemate.internal", CASEMATE, casemate.url);
      writeFileSync(config, `${lines.join("\n")}\n  UserKnownHostsFile /dev/null\n`, { mode: 0o600 });
      const words = ["-F", config, "-o", "BatchMode=yes", "-i", join(folder, "id"), target, "uname"];
      return promisify(execFile)("ssh", words, {
        ...{ timeout: 60_000, env: { ...process.env, CASEMATE_INSTANCES_KEY: key } },
      }).then(
        ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
        (error: { code: number; stdout: string; stderr: string }) => error,
      );
    };
    expect(await ssh(hostname)).toMatchObject({ code: 0, stdout: `${hostname}: uname\n` });
    // The same first label below another tenant's: it must not lead to this one.
    expect(await ssh(`${name}.other.casemate.internal`)).toMatchObject({
      ...{ code: 255, stderr: expect.stringContaining("is not this tenant's") },
    });
  });

  it("what is for another ssh is not mixed with a command", async () => {
    expect(await run(["--pipe", name, "true"])).toMatchObject({ code: 2 });
    expect(await run(["--pipe", "--known-hosts", name])).toMatchObject({ code: 2 });
  });

  it("is not let in where another key is shown than the record has", async () => {
    const other = ed25519Pair().public.split(" ", 2).join(" ");
    await sql`update instances set ssh = jsonb_set(ssh, '{hostKeys}', ${JSON.stringify([other])}::jsonb)`.execute(
      casemate.control.db.run,
    );
    const refused = await run([name, "true"]);
    expect(refused).toMatchObject({
      code: 255,
      stdout: "",
      stderr: expect.stringContaining("verification failed"),
    });
  });
});
