// SPDX-License-Identifier: Apache-2.0
/**
 * What a check is: a value with a name, a time limit and one function that looks. What it looks at is
 * named in `Here` and never taken from the process, so that a test can point each check at a folder of
 * its own and see what it says of a computer that is not there.
 *
 *  A. A check changes nothing that outlives it. What it has to make, it removes, also when it is late.
 *  B. It says what it saw. What it could not look at is a warning that says so, never `ok`.
 */

/** Where the checks look. */
export interface Here {
  /** Stands before every absolute path that is read: empty on a real computer. */
  root: string;
  /** Folders that programs are looked for in, as PATH has them. */
  path: string;
  uid: number;
  arch: string;
  /** Folder of this program. */
  program: string;
  /** Folder with initdb and postgres, or why there is none. */
  postgres: { folder: string } | { missing: string };
  /** State folder of the installation, absolute; it need not exist. */
  state: string;
  dockerSocket: string;
  ports: { api: number; http: number; https: number };
  /** Where a trial may make a folder of its own. */
  temporary: string;
  now: Date;
}

export type Group =
  | "node and packages"
  | "database"
  | "sandboxes"
  | "containers"
  | "virtual machines"
  | "confidential hardware"
  | "this computer"
  | "this installation";

/** What is not there when a check says `missing`. */
export type Purpose = "sessions" | "workloads" | "hardware";

export interface Finding {
  state: "ok" | "warning" | "missing";
  says: string;
  /** The exact line that gets it, where there is one. */
  get?: string;
}

export interface Check {
  id: string;
  group: Group;
  name: string;
  /** Without it these are not possible; empty when it is good to know. */
  needed: readonly Purpose[];
  timeoutMs: number;
  /** `signal` is aborted at the time limit: what was started is ended then, and the promise settles soon after. */
  look(here: Here, signal: AbortSignal): Promise<Finding>;
}

export const ok = (says: string): Finding => ({ state: "ok", says });
export const warning = (says: string, get?: string): Finding => ({
  state: "warning",
  says,
  ...(get !== undefined && { get }),
});
export const missing = (says: string, get?: string): Finding => ({
  state: "missing",
  says,
  ...(get !== undefined && { get }),
});

/** The line for a Debian or Ubuntu, which is what we run on. */
export const apt = (here: Pick<Here, "uid">, ...packages: string[]) =>
  `${here.uid === 0 ? "" : "sudo "}apt-get install -y ${packages.join(" ")}`;
