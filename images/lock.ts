// SPDX-License-Identifier: Apache-2.0
/**
 * The lock file of an image: every package's name, version and SHA-256, nothing else decides what gets in. It is committed, so
 * that a change of what guests run is a change that somebody reads.
 *
 * apt's signatures say where a package came from on the day the lock was made. From then on the hash says what it is: a mirror,
 * an archive key or a machine's sources that turn bad change nothing in a build.
 */

/** What a package is for. `root` is installed, the others are unpacked and one thing is taken out of each. */
export const USES = ["root", "kernel", "stub", "compiler"] as const;
type Use = (typeof USES)[number];

export interface LockedPackage {
  name: string;
  version: string;
  architecture: string;
  sha256: string;
  sizeBytes: number;
  use: Use;
}

export interface ImageLock {
  v: 1;
  image: string;
  suite: string;
  architecture: string;
  /** The time that every file of the image bears. */
  epochS: number;
  packages: readonly LockedPackage[];
}

export class LockFault extends Error {}

const FORMS: Record<Exclude<keyof LockedPackage, "sizeBytes">, RegExp> = {
  name: /^[a-z0-9][a-z0-9+.-]{1,100}$/,
  version: /^[0-9][A-Za-z0-9.+:~-]{0,100}$/,
  architecture: /^(amd64|arm64|all)$/,
  sha256: /^[0-9a-f]{64}$/,
  use: new RegExp(`^(${USES.join("|")})$`),
};
const PACKAGES_MAX = 5_000;
const PACKAGE_BYTES_MAX = 2 ** 31;
const TEXT_BYTES_MAX = 4 * 2 ** 20;

/** `image` is what the file must be the lock of. */
export function parseLock(text: string, image: string): ImageLock {
  if (text.length > TEXT_BYTES_MAX) throw new LockFault(`the lock is over ${TEXT_BYTES_MAX} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LockFault("the lock is no JSON", { cause });
  }
  const lock = members(value, "the lock", ["v", "image", "suite", "architecture", "epochS", "packages"]);
  if (lock.v !== 1) throw new LockFault("v must be 1");
  if (lock.image !== image) throw new LockFault(`image must be ${image}`);
  const { suite, architecture, epochS, packages } = lock;
  if (typeof suite !== "string" || !/^[a-z]{1,40}$/.test(suite)) throw new LockFault("suite is no name");
  if (architecture !== "amd64" && architecture !== "arm64")
    throw new LockFault("architecture must be amd64 or arm64");
  if (!isCount(epochS, 2 ** 32)) throw new LockFault("epochS must be seconds since 1970");
  if (!Array.isArray(packages) || packages.length === 0 || packages.length > PACKAGES_MAX)
    throw new LockFault(`packages must be a list of 1 to ${PACKAGES_MAX}`);
  const read = packages.map((each, at) => parsePackage(each, `packages[${at}]`));
  const names = new Set(read.map(({ name, use }) => `${use} ${name}`));
  if (names.size !== read.length) throw new LockFault("packages has one package twice for one use");
  const lacking = USES.find((use) => !read.some((each) => each.use === use));
  if (lacking !== undefined) throw new LockFault(`packages has none with use ${lacking}`);
  return { v: 1, image, suite, architecture, epochS, packages: read };
}

function parsePackage(value: unknown, at: string): LockedPackage {
  const found = members(value, at, [...Object.keys(FORMS), "sizeBytes"]);
  for (const [member, form] of Object.entries(FORMS)) {
    const text = found[member];
    if (typeof text !== "string" || !form.test(text)) throw new LockFault(`${at}.${member} is not one`);
  }
  if (!isCount(found.sizeBytes, PACKAGE_BYTES_MAX)) throw new LockFault(`${at}.sizeBytes is not one`);
  return found as unknown as LockedPackage;
}

function members(value: unknown, at: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new LockFault(`${at} is no object`);
  const strange = Object.keys(value).find((member) => !known.includes(member));
  if (strange !== undefined) throw new LockFault(`${at} has a member that is not known`);
  return value as Record<string, unknown>;
}

const isCount = (value: unknown, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) > 0 && (value as number) < most;

/** One package a line, in one order: a change of one package is one changed line. */
export function lockText({ packages, ...head }: ImageLock): string {
  const key = ({ use, name }: LockedPackage) => `${USES.indexOf(use)} ${name}`;
  const sorted = [...packages].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  const lines = sorted.map(
    ({ use, name, version, architecture, sizeBytes, sha256 }) =>
      `    ${JSON.stringify({ use, name, version, architecture, sizeBytes, sha256 })}`,
  );
  const opening = JSON.stringify(head, null, 2).slice(0, -2);
  return `${opening},\n  "packages": [\n${lines.join(",\n")}\n  ]\n}\n`;
}
