// SPDX-License-Identifier: Apache-2.0
/**
 * The root of an image: Debian's packages installed by their own scripts into an empty folder, from archives of the lock file and
 * from nowhere else. What installing leaves of the day and the machine it was done on is taken out again.
 */
import { hash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  globSync,
  linkSync,
  mkdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { installNpmProgram } from "./agents/npm-program.ts";
import type { ImageLock } from "./lock.ts";
import type { PackageCache } from "./package-cache.ts";
import { runTool } from "./program.ts";
import { LEFT_OUT, type Recipe } from "./recipe.ts";

export interface RootOptions {
  lock: ImageLock;
  recipe: Recipe;
  cache: PackageCache;
  work: string;
  signal: AbortSignal;
  onLine: (line: string) => void;
}

/** Written while installing, with times, names or random bytes of this machine. */
const REMOVED = [
  ...[
    "etc/ssh/ssh_host_*",
    "etc/apt/sources.list",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
  ],
  ...["var/lib/apt/lists/*", "var/cache/*", "var/log/*", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*"],
  ...["var/backups/*", "etc/*-", "etc/.pwd.lock", "tmp/*", "run/*", "dev/*"],
];

/** A claim writes the second; without a machine id each start has one of its own. */
const WRITTEN = { "etc/machine-id": "", "etc/resolv.conf": "", "etc/hostname": "casemate\n" };

/** Answers the folder. */
export async function makeRootTree(options: RootOptions): Promise<string> {
  const { lock, recipe, work, signal, onLine } = options;
  const root = join(work, "root");
  const archive = await localArchive(options);
  // As Debian has been laid out since 12; without it a package would have to move everything while installing.
  const merged = `for each in bin sbin lib lib64; do mkdir -p "$1/usr/$each" && ln -s "usr/$each" "$1/$each"; done`;
  await runTool(
    "unshare",
    [
      // Mounts that installing makes are gone with it, however it ends.
      ...[
        "--mount",
        "--propagation",
        "private",
        "--",
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        "--verbose",
      ],
      ...[`--architectures=${lock.architecture}`, `--include=${recipe.packages.join(",")}`],
      // A chroot's lists come from the archives beside, which are signed by nobody: their hashes were checked.
      ...["--skip=check/empty", ...LEFT_OUT.map((each) => `--dpkgopt=${each}`), `--setup-hook=${merged}`],
      ...[lock.suite, root, `deb [trusted=yes] copy:${encodeURI(archive)} ./`],
    ],
    { signal, onLine, env: { SOURCE_DATE_EPOCH: String(lock.epochS), HOME: work, TMPDIR: work } },
  );
  // Only now: while it installs, the kernel's folders of this machine are mounted below it.
  for (const path of REMOVED.flatMap((pattern) => globSync(pattern, { cwd: root })))
    rmSync(join(root, path), { recursive: true, force: true });
  for (const [name, text] of Object.entries({ ...WRITTEN, ...recipe.files })) {
    // A package's own file would be another one than its list says.
    if (Object.hasOwn(recipe.files, name) && existsSync(join(root, name)))
      throw new Error(`${name} is a package's already`);
    writeFileSync(join(root, name), text);
    // Whatever the umask of whoever builds.
    chmodSync(join(root, name), 0o644);
  }
  if (recipe.agent !== undefined) {
    const { program, user } = recipe.agent;
    onLine(`Setting up ${program.folder}`);
    await installNpmProgram({ program, root, cache: join(dirname(work), "packages/npm"), work, signal });
    addUser(root, user);
  }
  return root;
}

/** By hand, since the programs that do it write the day. Nobody logs in as this user. */
function addUser(root: string, { name, id, home }: { name: string; id: number; home: string }): void {
  appendFileSync(
    join(root, "etc/passwd"),
    `${name}:x:${id}:${id}::/${home.replace(/^\//, "")}:/usr/sbin/nologin\n`,
  );
  appendFileSync(join(root, "etc/group"), `${name}:x:${id}:\n`);
  appendFileSync(join(root, "etc/shadow"), `${name}:!:::::::\n`);
}

/** A folder with the archives of the root and an index of them, as apt reads it. */
async function localArchive({ lock, cache, work, signal }: RootOptions): Promise<string> {
  const folder = join(work, "archive");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const index: string[] = [];
  for (const each of lock.packages.filter(({ use }) => use === "root")) {
    const path = cache.path(each);
    const to = join(folder, basename(path));
    try {
      linkSync(path, to);
    } catch {
      await copyFile(path, to);
    }
    const control = await runTool("dpkg-deb", ["--field", path], { signal });
    index.push(
      `${control.trimEnd()}\nFilename: ./${basename(to)}\nSize: ${each.sizeBytes}\nSHA256: ${each.sha256}\n`,
    );
  }
  const text = index.join("\n");
  writeFileSync(join(folder, "Packages"), text);
  // Without a name of its own mmdebstrap would find nothing essential in it.
  const line = `${hash("sha256", text)} ${Buffer.byteLength(text)} Packages`;
  writeFileSync(
    join(folder, "Release"),
    `Suite: ${lock.suite}\nCodename: ${lock.suite}\nArchitectures: ${lock.architecture}\nSHA256:\n ${line}\n`,
  );
  return folder;
}
