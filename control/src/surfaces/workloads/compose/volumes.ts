// SPDX-License-Identifier: Apache-2.0
/**
 * Mounts. The tenant may have what is his: volumes that the document declares, memory, and the files he
 * uploaded. Everything else that a mount can name is the host's, and a path of the host in a container
 * is the host itself.
 *
 * The short form is read here and given to Docker as the long one, which has no second reading
 * (`c:/data` is a drive to one reader, and a volume to another).
 */
import { isUpload } from "./files.ts";
import { readLabels } from "./names.ts";
import { type Json, type Place, type Reader, table } from "./place.ts";
import { checkTarget, readMode, readSizeBytes } from "./quantities.ts";

const SOURCES =
  "A mount's source is a volume declared under `volumes`, or $FILES/ and the name of an uploaded file.";
const UPLOADS_READ_ONLY = "Uploaded files are mounted read-only; write `:ro`, or nothing.";

export function readMount(at: Place): Json | undefined {
  return at.item.kind === "map" ? readLong(at) : readShort(at);
}

function readShort(at: Place): Json | undefined {
  const text = at.fileString();
  if (text === undefined) return undefined;
  const [source = "", target, mode = "", ...more] = text.split(":");
  if (target === undefined) {
    return at.refuse("A volume without a name is not allowed; declare one under `volumes` and name it.");
  }
  if (more.length > 0) return at.refuse("A mount has at most three parts: source:target:mode.");
  const modes = mode === "" ? [] : mode.split(",");
  if (modes.some((one) => one !== "ro" && one !== "rw" && one !== "nocopy")) {
    return at.refuse("The mode of a mount is ro, rw or nocopy.");
  }
  return mount(at, {
    source,
    target,
    readOnly: modes.includes("ro") ? true : modes.includes("rw") ? false : undefined,
    nocopy: modes.includes("nocopy"),
  });
}

interface Wanted {
  source: string;
  target: string;
  readOnly: boolean | undefined;
  nocopy: boolean;
}

function mount(at: Place, wanted: Wanted): Json | undefined {
  const { source, readOnly, nocopy } = wanted;
  const upload = isUpload(at, source, "or a folder");
  if (!upload && !at.sheet.declared.volumes.has(source)) return at.refuse(SOURCES);
  if (upload && readOnly === false) return at.refuse(UPLOADS_READ_ONLY);
  if (upload && nocopy) return at.refuse("nocopy is for volumes.");
  const target = checkTarget(at, wanted.target);
  if (target === undefined) return undefined;
  // Written through, a file of the host's grows without a quota: uploads are never writable.
  if (upload) return { type: "bind", source, target, read_only: true };
  return {
    type: "volume",
    source,
    target,
    ...(readOnly === true ? { read_only: true } : {}),
    ...(nocopy ? { volume: { nocopy: true } } : {}),
  };
}

const NOCOPY = table<Reader>({ nocopy: (at) => at.flag() });
const NOCOPY_REFUSED = table({
  subpath: "A path inside of a volume cannot be mounted; mount the volume.",
  labels: "A mount has no labels; put them on the volume under `volumes`.",
});
const TMPFS = table<Reader>({ size: readSizeBytes, mode: readMode });
const BIND = table<Reader>({ create_host_path: (at) => at.flag() });
const BIND_REFUSED = table({
  propagation: "Mounts are private to their container.",
  selinux: "Files of the host are not relabelled.",
  recursive: "This is not to be set for uploaded files.",
});
const LONG = table<Reader>({
  type: (at) => at.oneOf("volume", "bind", "tmpfs"),
  source: (at) => at.fileString(),
  target: (at) => at.string(),
  read_only: (at) => at.flag(),
  // Of other systems' Docker; means nothing on Linux.
  consistency: () => undefined,
  volume: (at) => at.fields(NOCOPY, NOCOPY_REFUSED),
  bind: (at) => at.fields(BIND, BIND_REFUSED),
  tmpfs: (at) => at.fields(TMPFS),
});

function readLong(at: Place): Json | undefined {
  const before = at.sheet.findings.violations.length;
  const read = at.fields(LONG);
  if (read === undefined || at.sheet.findings.violations.length > before) return undefined;
  const { type, source, target } = read;
  if (typeof target !== "string") return at.refuse("A mount needs a target.");
  if (type === "tmpfs") {
    if (source !== undefined || read.volume || read.bind) return at.refuse("A tmpfs has no source.");
    const path = checkTarget(at, target);
    return path === undefined
      ? undefined
      : { type, target: path, ...(read.tmpfs ? { tmpfs: read.tmpfs } : {}) };
  }
  if (typeof source !== "string" || read.tmpfs) return at.refuse(SOURCES);
  // The type says which of the two the source must be, so that no name is both.
  const upload = isUpload(at, source, "or a folder");
  if (type === undefined || (type === "bind") !== upload) return at.refuse(SOURCES);
  const nocopy = (read.volume as { nocopy?: Json } | undefined)?.nocopy === true;
  return mount(at, { source, target, readOnly: read.read_only as boolean | undefined, nocopy });
}

const TMPFS_OPTION =
  /^(?:ro|rw|exec|noexec|nosuid|nodev|mode=[0-7]{3,4}|uid=\d{1,9}|gid=\d{1,9}|size=\d{1,15}[kmgKMG]?)$/;

/** `/run`, or `/run:size=64m,mode=1777`. */
export function readTmpfs(at: Place): string | undefined {
  const text = at.string();
  if (text === undefined) return undefined;
  const [path = "", options, ...more] = text.split(":");
  if (more.length > 0) return at.refuse("A tmpfs is written as /path, or /path:size=64m,mode=1777.");
  const target = checkTarget(at, path);
  if (target === undefined) return undefined;
  if (options === undefined) return target;
  if (options.split(",").every((option) => TMPFS_OPTION.test(option))) return `${target}:${options}`;
  return at.refuse("The options of a tmpfs are size, mode, uid, gid, ro, rw, exec, noexec, nosuid, nodev.");
}

const VOLUME = table<Reader>({
  labels: readLabels,
  driver: (at) => {
    const driver = at.string();
    if (driver !== undefined && driver !== "local") at.refuse("Volumes have no driver of their own choice.");
    return undefined;
  },
  external: (at) => refuseExternal(at),
});
const VOLUME_REFUSED = table({
  driver_opts: "Options of a volume's driver are not allowed: they can name any path or share.",
  name: "A volume has the name under which it is declared; a name of its own could be another machine's.",
});

/** A volume as the document declares it. */
export const readVolume: Reader = (at) => declared(at, VOLUME, VOLUME_REFUSED);

const NETWORK = table<Reader>({
  labels: readLabels,
  internal: (at) => at.flag(),
  external: (at) => refuseExternal(at),
});
const NETWORK_REFUSED = table({
  driver: "A network has no driver of its own choice; leave this out.",
  driver_opts: "Options of a network's driver are not allowed.",
  ipam: "Addresses are given by the platform.",
  name: "A network has the name under which it is declared; a name of its own could be another machine's.",
  attachable: "Nothing but the document's services can join a network.",
  enable_ipv4: "Addresses are given by the platform.",
  enable_ipv6: "Addresses are given by the platform.",
});

export const readNetwork: Reader = (at) => declared(at, NETWORK, NETWORK_REFUSED);

function declared(at: Place, fields: ReadonlyMap<string, Reader>, refused: ReadonlyMap<string, string>) {
  return at.empty ? {} : at.fields(fields, refused);
}

/** Also `external: {name: …}`, the old form. */
function refuseExternal(at: Place): undefined {
  if (at.item.kind === "flag" && !at.item.value) return undefined;
  return at.refuse("Nothing from outside of the document can be used; leave `external` out.");
}
