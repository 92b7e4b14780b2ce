// SPDX-License-Identifier: Apache-2.0
/** The API documents: which operations each holds, where it is served and the file it is committed as. */
import { DEVICES } from "./devices/index.ts";
import { IDENTITY, LEGACY, OAUTH } from "./identity/index.ts";
import { ErrorBody as TokenErrorBody } from "./identity/vocabulary.ts";
import { INFERENCE, ErrorBody as InferenceErrorBody } from "./inference/index.ts";
import { INSTANCES } from "./instances/index.ts";
import { ErrorBody as InstancesErrorBody } from "./instances/vocabulary.ts";
import { MODELS } from "./models/index.ts";
import type { Operation } from "./operation.ts";
import { PLATFORM } from "./platform/index.ts";
import { REGISTRY } from "./registry/index.ts";
import { ErrorBody as RegistryErrorBody } from "./registry/vocabulary.ts";
import { SESSIONS } from "./sessions/index.ts";
import { ErrorBody } from "./sessions/vocabulary.ts";
import { WORKLOADS } from "./workloads/index.ts";
import { ErrorBody as WorkloadsErrorBody } from "./workloads/vocabulary.ts";

export interface ApiDocument {
  path: string;
  file: string;
  title: string;
  description: string;
  operations: readonly Operation[];
  error: unknown;
  /** Calls carry access tokens; its page is Swagger UI. */
  tokens?: true;
  /** Each operation with a call of it that a test runs. */
  samples?: true;
}

export const DOCUMENTS: readonly ApiDocument[] = [
  {
    path: "/v1/openapi.json",
    file: "sessions.json",
    title: "Casemate sessions",
    description: "Ephemeral sealed sandboxes that end with a signed destruction proof.",
    operations: SESSIONS,
    error: ErrorBody,
  },
  {
    path: "/openapi.json",
    file: "workloads.json",
    title: "Casemate workloads",
    description:
      "Docker-compose files on hosts, behind TLS, paid by the minute. Keys go into `x-api-key` or `Authorization: Bearer`.",
    operations: WORKLOADS,
    error: WorkloadsErrorBody,
  },
  {
    path: "/v1/instances/openapi.json",
    file: "instances.json",
    title: "Casemate instances",
    description: "Virtual machines of your own, reached over SSH, with a packaged agent in them.",
    operations: INSTANCES,
    error: InstancesErrorBody,
  },
  {
    path: "/inference/openapi.json",
    file: "inference.json",
    title: "Casemate inference gateway",
    description:
      "Models for instances, as OpenAI's API has them. The key is the token that an instance finds in `/run/casemate/inference.env`.",
    operations: INFERENCE,
    error: InferenceErrorBody,
  },
  {
    path: "/registry/openapi.json",
    file: "registry.json",
    title: "Casemate registry",
    description:
      "Images for workloads, after the OCI Distribution Specification 1.1. The password is a key of the workloads surface, the user's name anything.",
    operations: REGISTRY,
    error: RegistryErrorBody,
  },
  {
    path: "/platform/v1/openapi.json",
    file: "platform.json",
    title: "Casemate platform",
    description:
      "What the operator of an installation does with it, and what happens to an account on any surface.",
    operations: PLATFORM,
    error: ErrorBody,
  },
  {
    path: "/cpt/openapi.json",
    file: "models.json",
    title: "Casemate models",
    description:
      "AI models: catalogue, versions, validation, conversion. With every operation stands a call of it for a shell that knows `$URL`, `$TOKEN` and the ids it names. After the Nx Compute API, whose list is only partly public; an independent implementation.",
    operations: MODELS,
    error: TokenErrorBody,
    tokens: true,
    samples: true,
  },
  {
    path: "/dev/openapi.json",
    file: "devices.json",
    title: "Casemate devices",
    description:
      "Sites, servers, devices, pipelines and rollouts. With every operation stands a call of it for a shell that knows `$URL`, `$TOKEN` and the ids it names. After the Nx Device API, whose list is only partly public; an independent implementation.",
    operations: DEVICES,
    error: TokenErrorBody,
    tokens: true,
    samples: true,
  },
  {
    path: "/cdb/openapi.json",
    file: "identity.json",
    title: "Casemate identity",
    description: "Who is who on models and devices: access tokens, organizations, and who may act for them.",
    operations: [...OAUTH, ...IDENTITY, ...LEGACY],
    error: TokenErrorBody,
    tokens: true,
  },
];
