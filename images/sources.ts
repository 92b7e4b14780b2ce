// SPDX-License-Identifier: Apache-2.0
/**
 * Where packages of an image's suite come from when nobody says it: the machine's own Debian mirror. One that has none (Ubuntu, say)
 * is told of a sources list: whose servers a machine asks is its operator's to say. The machine's suite has no part in it, nor has any other source or key of the machine: what is fetched is signed by
 * Debian's archive keys.
 */
export const ARCHIVE_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** What apt is asked to say of each of the machine's sources. */
export const TARGET_FORMAT = "$(REPO_URI) $(ORIGIN) $(LABEL)";

/**
 * `targets` are lines in that format; without lists apt leaves origin and label as they are written there. Throws when there is no mirror
 * among them; one of security updates may be missing.
 */
export function debianSources(suite: string, targets: string): string {
  const sources = targets.split("\n").map((line) => {
    const [uri = "", origin = "", ...label] = line.trim().split(" ");
    return { uri, origin, label: label.join(" ") };
  });
  const find = (label: string, folder: string) =>
    (
      sources.find((each) => isUsable(each.uri) && each.origin === "Debian" && each.label === label) ??
      sources.find(({ uri }) => isUsable(uri) && uri.replace(/\/+$/, "").endsWith(`/${folder}`))
    )?.uri;
  const mirror = find("Debian", "debian");
  const security = find("Debian-Security", "debian-security");
  if (mirror === undefined)
    throw new Error(
      `this machine's apt sources name no Debian mirror: give a sources list of ${suite} by --sources, or as images.sources of the configuration`,
    );
  const line = (uri: string, of: string) => `deb [signed-by=${ARCHIVE_KEYS}] ${uri} ${of} main\n`;
  const updates = security === undefined ? "" : line(security, `${suite}-security`);
  return line(mirror, suite) + line(mirror, `${suite}-updates`) + updates;
}

/** No disc, and nothing that would end a line or begin an option in a sources list. */
const isUsable = (uri: string) => /^(?!cdrom:)[a-z][a-z0-9+]*:[\x21-\x5a\x5c\x5e-\x7e]+$/.test(uri);
