// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { judgeEndorsement } from "#evidence/tpm/endorsement.ts";
import { parseCertificate } from "#evidence/x509/certificate.ts";
import { describeWith } from "#testing/requirements.ts";
import { swtpm, swtpmSetup } from "./testing.ts";
import { TpmAuthority } from "./tpm-authority.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-tpm-authority-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const options = { folder: join(folder, "own"), program: "/usr/bin/swtpm_setup" };

describeWith([swtpm, swtpmSetup], "the authority of a host's TPMs", () => {
  it("vouches for each TPM with one root, also in the next process, and keeps its keys to itself", async () => {
    const authority = new TpmAuthority(options);
    const states = ["a", "b"].map((name) => join(folder, name));
    for (const state of states) mkdirSync(state);
    const [chain] = await Promise.all([
      authority.chain(),
      ...states.map((state) => authority.endow(state, AbortSignal.timeout(60_000))),
    ]);
    const [issuer, root] = chain!.map((der) => new X509Certificate(Buffer.from(der, "base64")));
    expect(issuer!.verify(root!.publicKey)).toBe(true);
    for (const state of states) expect(readdirSync(state)).toContain("tpm2-00.permall");
    expect(await new TpmAuthority(options).chain()).toEqual(chain);
    expect(statSync(options.folder).mode & 0o077).toBe(0);
    expect(readdirSync(options.folder).filter((name) => name.startsWith(".first"))).toEqual([]);
  });

  it("its certificate is one that the verifier follows to the root, and to no other", async () => {
    const state = join(folder, "judged");
    mkdirSync(state);
    const certificates = join(folder, "certificates");
    mkdirSync(certificates);
    const authority = new TpmAuthority(options);
    const chain = await authority.chain();
    const words = ["--tpm2", "--tpmstate", state, "--create-ek-cert", "--write-ek-cert-files", certificates];
    const ran = spawnSync(options.program, [...words, "--config", join(options.folder, "setup.conf")]);
    expect(ran.status).toBe(0);
    const file = readdirSync(certificates).find((name) => name.includes("rsa"))!;
    const { raw } = new X509Certificate(readFileSync(join(certificates, file)));
    const others = chain.map((der) => parseCertificate(Buffer.from(der, "base64")));
    const rootKey = createHash("sha256").update(others.at(-1)!.spki).digest("hex");
    const atMs = Date.now() + 60_000;
    expect(await judgeEndorsement(parseCertificate(raw), others, [rootKey], atMs)).toMatch(/vouches/);
    await expect(judgeEndorsement(parseCertificate(raw), others, ["0".repeat(64)], atMs)).rejects.toThrow();
  });

  it("a program that is not there is said by its name", async () => {
    const authority = new TpmAuthority({ folder: join(folder, "none"), program: "/no/swtpm_setup" });
    await expect(authority.chain()).rejects.toMatchObject({
      code: "machine.start-failed",
      message: expect.stringContaining("/no/swtpm_setup"),
    });
  });
});
