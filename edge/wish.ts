// SPDX-License-Identifier: Apache-2.0
/** What the control plane wants a server to do (contract/devices/servers.ts), as far as the agent reads it. */
export interface Wish {
  Version: number;
  Desired: { Runtime: string | null; Settings?: { TelemetrySeconds?: number }; Devices: WishedDevice[] };
  Manifest: { Artefacts: ManifestArtifact[] };
}

export interface WishedDevice {
  UUID: string;
  Name: string;
  Enabled: boolean;
  Active: boolean;
  PipelinesVersion: number;
  Pipelines: WishedPipeline[];
}

export interface WishedPipeline {
  UUID: string;
  Name: string;
  modelUUID: string;
  modelVersion: number;
  modelNMS?: number;
  resizingMethod: "Letterbox" | "Stretch" | "Crop";
  /** Shares of width and height; what is found outside of all of them does not count. */
  Mask?: [number, number][][];
  Classes?: string[];
  chains: (WishedPipeline & {
    Mode: "Direct" | "Conditional" | "FeatureExtraction";
    Field?: string;
    Label?: string;
  })[];
}

export interface ManifestArtifact {
  UUID: string;
  Function: string;
  Version: number;
  InputDriverDetails: { means?: number[]; vars?: number[]; order?: number };
  MediaType: string;
  URL: string;
  SHA256: string;
  Size: number;
  Signature: string;
  KeyID: string;
}

/** One that this agent can act on; throws otherwise. */
export function readWish(body: unknown): Wish {
  const wish = body as Wish | null;
  if (
    typeof wish?.Version !== "number" ||
    !Array.isArray(wish.Desired?.Devices) ||
    !Array.isArray(wish.Manifest?.Artefacts)
  )
    throw new Error("the control plane said something that is no wish");
  return wish;
}

/** Whether any of them, or of what is chained to them, runs the artefact's model. */
export const runs = (
  pipelines: readonly WishedPipeline[],
  model: Pick<ManifestArtifact, "Function" | "Version">,
): boolean =>
  pipelines.some(
    ({ modelUUID, modelVersion, chains }) =>
      (modelUUID === model.Function && modelVersion === model.Version) || runs(chains, model),
  );
