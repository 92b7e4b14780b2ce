// SPDX-License-Identifier: Apache-2.0
/** A machine that one logs in to, as a real SSH server on loopback: it lets in one key, and runs what it is asked by answering with it. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import ssh2 from "ssh2";
import type { Endpoint } from "#drivers/kept-driver.ts";
import { ed25519Pair } from "./ssh-keys.ts";

export interface SshMachine {
  endpoint: Endpoint;
  /** Lets in this key from now on, and no other. */
  authorize(key: string): void;
  close(): void;
}

export async function startSshMachine(authorizedKey: string, hostname: string): Promise<SshMachine> {
  const keys = ed25519Pair();
  let allowed = keyOf(authorizedKey);
  const server = new ssh2.Server({ hostKeys: [keys.private] }, (client) => {
    client.on("error", () => {});
    client.on("authentication", (ask) => {
      const known = ask.method === "publickey" && ask.key.data.equals(allowed.getPublicSSH());
      const proven =
        known && (ask.signature === undefined || allowed.verify(ask.blob!, ask.signature) === true);
      if (proven) ask.accept();
      else ask.reject(["publickey"]);
    });
    client.on("session", (accept) => {
      accept().on("exec", (acceptExec, _reject, { command }) => {
        const stream = acceptExec();
        stream.write(`${hostname}: ${command}\n`);
        stream.exit(0);
        stream.end();
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const hostKeys = [keys.public.split(" ", 2).join(" ")];
  const authorize = (key: string) => {
    allowed = keyOf(key);
  };
  return { authorize, endpoint: { host: "127.0.0.1", port, ssh: { hostKeys } }, close: () => server.close() };
}

function keyOf(line: string) {
  const key = ssh2.utils.parseKey(line.split(" ", 2).join(" "));
  if (key instanceof Error) throw key;
  return key;
}
