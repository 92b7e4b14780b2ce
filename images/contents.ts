// SPDX-License-Identifier: Apache-2.0
/** Every file of a root tree, and which package brought it. Read from the tree itself, before it becomes a file system. */
import { globSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { hashFile } from "./package-cache.ts";

export interface ContentFile {
  path: string;
  kind: "file" | "folder" | "link" | "device" | "other";
  mode: string;
  uid: number;
  gid: number;
  sizeBytes?: number;
  sha256?: string;
  target?: string;
  /** `name version`, or `recipe`; null: made by a package's script, or by the build. */
  from: string | null;
}

/** `added`: paths that the recipe brings. */
export async function listContents(root: string, added: readonly string[]): Promise<ContentFile[]> {
  const owners = readOwners(root);
  for (const path of added) owners.set(`/${path}`, "recipe");
  const files: ContentFile[] = [];
  const walk = async (folder: string) => {
    for (const name of readdirSync(join(root, folder)).sort((a, b) => (a < b ? -1 : 1))) {
      const path = `${folder}/${name}`;
      const at = join(root, path);
      const stat = lstatSync(at);
      const kind = stat.isFile()
        ? "file"
        : stat.isDirectory()
          ? "folder"
          : stat.isSymbolicLink()
            ? "link"
            : stat.isCharacterDevice() || stat.isBlockDevice()
              ? "device"
              : "other";
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
      files.push({
        ...{ path, kind, mode, uid: stat.uid, gid: stat.gid },
        ...(kind === "file" && { sizeBytes: stat.size, sha256: await hashFile(at) }),
        ...(kind === "link" && { target: readlinkSync(at) }),
        from: owners.get(path) ?? null,
      });
      if (kind === "folder") await walk(path);
    }
  };
  await walk("");
  return files;
}

/** dpkg's own lists: `info/<package>.list`, one path a line, as the package had it before /usr was merged. */
function readOwners(root: string): Map<string, string> {
  const versions = new Map(
    readFileSync(join(root, "var/lib/dpkg/status"), "utf8")
      .split("\n\n")
      .map((block) => [/^Package: (.+)$/m.exec(block)?.[1], /^Version: (.+)$/m.exec(block)?.[1]] as const)
      .flatMap(([name, version]) => (name && version ? [[name, version] as const] : [])),
  );
  const owners = new Map<string, string>();
  for (const list of globSync(join(root, "var/lib/dpkg/info/*.list")).sort()) {
    const name = basename(list, ".list").split(":")[0]!;
    for (const path of readFileSync(list, "utf8").split("\n")) {
      const merged = /^\/(bin|sbin|lib|lib32|lib64|libx32)\//.test(path) ? `/usr${path}` : path;
      if (merged.length > 1 && !owners.has(merged))
        owners.set(merged, `${name} ${versions.get(name) ?? ""}`.trim());
    }
  }
  return owners;
}
