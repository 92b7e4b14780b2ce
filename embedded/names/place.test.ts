// SPDX-License-Identifier: Apache-2.0
/**
 * Names as programs of a computer meet them: through getaddrinfo, by a resolv.conf with our line in it. All of it is in a network and a
 * mount namespace, and this computer's resolver is not touched.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { networkNamespaces, openNetwork } from "#testing/network-namespaces.ts";
import { describeWith, programs } from "#testing/requirements.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

/** A second name server, which knows another name, holds port 53 of every address; an SSH server would hold 22 so. */
const PROGRAM = `
import { startNameServer } from "#control/src/core/ingress/index.ts";
import { findNamesPlace, forgetNames, leadNames } from "#embedded/names/place.ts";
const [state] = process.argv.slice(1);
const serve = (host, port, zone, name, address) => startNameServer({
  host, port, log: () => {},
  zones: [{ origin: zone, nameServers: [{ name: "ns.elsewhere.test", addresses: [] }], contact: "a@b.test", ttlSeconds: 1, negativeTtlSeconds: 1 }],
  lookup: async (asked) => asked === name ? [{ type: "A", address }] : null,
});
await serve("0.0.0.0", 53, "example.com", "www.example.com", "192.0.2.7");
const place = await findNamesPlace(state);
await serve(place.address, place.port, "casemate.internal", "4k9p2xq7.acme.casemate.internal", "127.64.0.9");
console.log(JSON.stringify({ ...place, led: await leadNames(state, place), second: await findNamesPlace(state) }));
process.stdin.once("data", async () => {
  console.log(JSON.stringify(await forgetNames(state)));
});
`;

describeWith(
  [networkNamespaces, programs(["nft", "unshare", "getent"], "nftables util-linux")],
  "names",
  () => {
    it("a name of ours resolves by getaddrinfo beside another server on port 53, and others go on to the next server", async () => {
      const folder = mkdtempSync(join(tmpdir(), "casemate-names-"));
      ends.push(() => rmSync(folder, { recursive: true, force: true }));
      const network = openNetwork(["one"]);
      ends.push(() => network[Symbol.dispose]());
      const [command, ...inside] = network.inside("one");
      const child = spawn(
        command!,
        [...inside, process.execPath, "--input-type=module", "-e", PROGRAM, folder],
        { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] },
      );
      ends.push(() => child.kill("SIGKILL"));
      let text = "";
      child.stdout.setEncoding("utf8").on("data", (part) => (text += part));
      const line = async (n: number) => {
        await expect.poll(() => text.split("\n").length, { timeout: 60_000 }).toBeGreaterThan(n + 1);
        return JSON.parse(text.split("\n")[n]!);
      };
      const { address, led, port, second } = await line(0);
      expect(led).toBe(true);
      // What is listened on is not offered again.
      expect(second).toEqual({ address, port: port + 1 });

      const resolve = (name: string, servers: string[]) => {
        const conf = join(folder, "resolv.conf");
        writeFileSync(
          conf,
          servers.map((server) => `nameserver ${server}\n`).join("") + "options timeout:1 attempts:1\n",
        );
        const script = 'mount --bind "$1" /etc/resolv.conf && exec getent ahostsv4 "$2"';
        const words = [...inside, "unshare", "--mount", "sh", "-c", script, "sh", conf, name];
        const { stdout } = spawnSync(command!, words, { encoding: "utf8", timeout: 60_000 });
        return stdout.split(/\s/)[0];
      };
      const servers = [address, "127.0.0.1"];
      const ours = "4k9p2xq7.acme.casemate.internal";
      expect(resolve(ours, servers)).toBe("127.64.0.9");
      expect(resolve("www.example.com", servers)).toBe("192.0.2.7");
      expect(resolve("none.acme.casemate.internal", servers)).toBe("");
      expect(resolve("www.example.com", [address])).toBe("");
      child.stdin.write("\n");
      expect(await line(1)).toBe(true);
      expect(resolve(ours, servers)).toBe("");
      expect(execFileSync(command!, [...inside, "nft", "list", "tables"], { encoding: "utf8" })).toBe("");
    }, 120_000);
  },
);
