// SPDX-License-Identifier: Apache-2.0
/**
 * Guest images as control knows them: what their metadata says, from files of this machine. Hosts have images of their own and
 * say which they start; whether it is one of these is told by its hash.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { imageSignatureFault } from "#evidence/images/signature.ts";
import type { Issuer } from "#evidence/proofs/certificate.ts";
import type { ImageMetadata } from "#images/metadata.ts";
import { type BuiltImage, findAlteredFile, listImages, METADATA_FILE } from "#images/store.ts";

export interface GuestImage {
  metadata: ImageMetadata;
  /** Of the metadata's file, hex: the image's name in wishes and approvals. */
  sha256: string;
  /** The file's bytes, of which that is the hash. */
  text(): string;
}

export interface GuestImages {
  /** What workloads of a release run on, or null when it was not built here. */
  ofVersion(version: string): GuestImage | null;
  /** The newest of a flavour; what instances run on. */
  ofFlavour(name: string): GuestImage | null;
  ofHash(sha256: string): GuestImage | null;
  /** The newest of each flavour, with what their signature files hold, not judged. */
  offered(): { sha256: string; signature: unknown }[];
  /** Why what `ofVersion` answers is not what one of the issuers signed, every file read; null: it is, or there is none. */
  faultOf(version: string, issuers: readonly Issuer[]): Promise<string | null>;
}

/** The flavour that runs compose files. */
const FLAVOUR = "containers";

/** @param folder Null: this installation has none. */
export function openGuestImages(folder: string | null): GuestImages {
  const all = (): BuiltImage[] => (folder !== null && existsSync(folder) ? listImages(folder) : []);
  const found = (image: BuiltImage | undefined): GuestImage | null =>
    image === undefined
      ? null
      : {
          metadata: image.metadata,
          sha256: image.metadataSha256,
          text: () => readFileSync(join(image.folder, METADATA_FILE), "utf8"),
        };
  const ofVersion = (version: string) =>
    all().find(
      ({ metadata, current }) => current && metadata.name === FLAVOUR && metadata.version === version,
    );
  return {
    ofVersion: (version) => found(ofVersion(version)),
    faultOf: async (version, issuers) => {
      const image = ofVersion(version);
      if (image === undefined) return null;
      const fault = imageSignatureFault(image.signature, image.metadataSha256, issuers);
      if (fault !== null) return fault;
      const altered = await findAlteredFile(image);
      return altered === null ? null : `${altered} is not what it was`;
    },
    ofFlavour: (name) => found(all().find(({ metadata, current }) => current && metadata.name === name)),
    offered: () =>
      all()
        .filter(({ current }) => current)
        .map(({ metadataSha256, signature }) => ({ sha256: metadataSha256, signature })),
    ofHash: (sha256) => found(all().find(({ metadataSha256 }) => metadataSha256 === sha256)),
  };
}
