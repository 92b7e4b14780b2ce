// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate devices: every operation by its id. */
export interface Operations {
  /** Add a site */
  "devices.systems.create": {
    method: "POST";
    path: "/dev/systems";
    body: {
      Name: string;
    };
    answers: {
      201: System;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Remove a site that has no servers any more */
  "devices.systems.delete": {
    method: "DELETE";
    path: "/dev/system/:id";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found" | "site.not-empty";
  };
  /** One site */
  "devices.systems.get": {
    method: "GET";
    path: "/dev/system/:id";
    params: OfItem;
    answers: {
      200: System;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** Sites */
  "devices.systems.list": {
    method: "GET";
    path: "/dev/systems";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
      Status?: Status;
    };
    answers: {
      200: System[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Rename a site */
  "devices.systems.change": {
    method: "PATCH";
    path: "/dev/system/:id";
    params: OfItem;
    body: {
      Name: string;
    };
    answers: {
      200: System;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found" | "request.precondition";
  };
  /** Let in the server that shows this code */
  "devices.claims.approve": {
    method: "POST";
    path: "/dev/system/:id/claims";
    params: OfItem;
    body: {
      Code: string;
      Name?: string;
    };
    answers: {
      200: Server;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found" | "registration.not-found" | "server.exists";
  };
  /** Make a word that lets servers into a site */
  "devices.tokens.create": {
    method: "POST";
    path: "/dev/registration-tokens";
    body: {
      SystemId: string;
      /** 1 unless given */
      MaxUses?: number;
      /** A day unless given */
      LifetimeSeconds?: number;
      /** In its place; RFC 3339 */
      ExpiresAt?: string;
    };
    answers: {
      201: {
        ID: string;
        SystemId: string;
        Prefix: string;
        MaxUses: number;
        Used: number;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        Token: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** Let nobody in with a word any more */
  "devices.tokens.delete": {
    method: "DELETE";
    path: "/dev/registration-token/:id";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "registration.not-found";
  };
  /** Servers that ask to be let in */
  "devices.claims.list": {
    method: "GET";
    path: "/dev/system/:id/claims";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        ServerId: string;
        Source: Record<string, unknown> | null;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** Words that still let servers in */
  "devices.tokens.list": {
    method: "GET";
    path: "/dev/registration-tokens";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      SystemId?: string;
    };
    answers: {
      200: ({
        ID: string;
        SystemId: string;
        Prefix: string;
        MaxUses: number;
        Used: number;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** What became of asking */
  "devices.claims.poll": {
    method: "GET";
    path: "/dev/plugin/claim/:secret";
    params: {
      secret: string;
    };
    answers: {
      200: {
        ServerId: string;
        SystemId: string;
        /** The server's own, shown once */
        Key: string;
      };
      202: {
        Message: string;
      };
    };
    errors: "limits.rate" | "registration.not-found" | "server.exists";
  };
  /** A server asks to be let into a site */
  "devices.register": {
    method: "POST";
    path: "/dev/plugin/register";
    body: {
      ServerId: string;
      SystemId?: string;
      Source?: Record<string, string | number | boolean | null> | null;
      Name?: string;
      RegistrationToken?: string;
    };
    answers: {
      201: {
        ServerId: string;
        SystemId: string;
        /** The server's own, shown once */
        Key: string;
      };
      202: {
        ServerId: string;
        /** A person types it at the site */
        Code: string;
        PollURL: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
      };
    };
    errors: "limits.rate" | "request.invalid" | "registration.refused" | "server.exists";
  };
  /** Put a server out, with its devices; its key opens nothing any more */
  "devices.servers.delete": {
    method: "DELETE";
    path: "/dev/server/:id";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "server.not-found";
  };
  /** The bytes of an artefact that a server is to run */
  "devices.own.artifact": {
    method: "GET";
    path: "/dev/server/:id/artifact/:artifact/content";
    params: {
      id: string;
      artifact: string;
    };
    answers: {
      200: Uint8Array;
      206: Uint8Array;
      304: undefined;
    };
    errors: "identity.token" | "server.not-found" | "request.invalid" | "limits.rate" | "function.artifact-not-found" | "blob.range";
  };
  /** One server */
  "devices.servers.get": {
    method: "GET";
    path: "/dev/server/:id";
    params: OfItem;
    answers: {
      200: Server;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "server.not-found";
  };
  /** What a server is to do */
  "devices.state.get": {
    method: "GET";
    path: "/dev/server/:id/state";
    params: OfItem;
    query: {
      wait?: number;
    };
    answers: {
      200: {
        Version: number;
        Desired: {
          Runtime: string | null;
          Settings: ServerSettings;
          Devices: ({
            UUID: string;
            NxID: string;
            Name: string;
            Enabled: boolean;
            Active: boolean;
            PipelinesVersion: number;
            Pipelines: Pipeline[];
          })[];
        };
        Manifest: {
          Artefacts: ({
            UUID: string;
            Function: string;
            Version: number;
            Name: string;
            InputDriverDetails: Record<string, unknown>;
            OutputDriverDetails: Record<string, unknown>;
            MediaType: string;
            URL: string;
            SHA256: string;
            Size: number;
            /** Ed25519, base64; over what GET /cpt/keys says */
            Signature: string;
            KeyID: string;
          })[];
        };
      };
      304: undefined;
    };
    errors: "identity.token" | "server.not-found" | "request.invalid" | "limits.rate";
  };
  /** Servers of a site */
  "devices.servers.list": {
    method: "GET";
    path: "/dev/system/:id/servers";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: Server[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** Rename a server, or say how its agent is to behave */
  "devices.servers.change": {
    method: "PATCH";
    path: "/dev/server/:id";
    params: OfItem;
    body?: {
      Name?: string;
      Settings?: ServerSettings;
    };
    answers: {
      200: Server;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "server.not-found" | "request.precondition";
  };
  /** A server tells of a device it has; of one with the same serial it is told again */
  "devices.own.put": {
    method: "POST";
    path: "/dev/server/:id/devices";
    params: OfItem;
    body: {
      Name: string;
      Serial: string;
      Type?: string;
      Tags?: string[];
    };
    answers: {
      200: Device;
      201: Device;
    };
    errors: "identity.token" | "server.not-found" | "request.invalid" | "limits.rate" | "device.too-many";
  };
  /** What a server does */
  "devices.state.report": {
    method: "PUT";
    path: "/dev/server/:id/reported";
    params: OfItem;
    body: {
      /** Taken over so far */
      Version: number;
      /** The wish that was tried last; larger than Version when its trial failed. Rollouts judge by it: a server that does not say it is waited for until the time is over */
      Tried?: number;
      /** Those whose part of the tried wish did not run; absent: it cannot be said which */
      FailedDevices?: string[];
      Health?: Health;
      Errors?: string[];
      /** What it runs, in its own words; compared are Runtime, Settings and Devices {UUID: PipelinesVersion} */
      Reported?: Record<string, unknown>;
      Facts?: {
        Version?: string;
        AIPluginVersion?: string;
        Runtime?: Runtime;
        AvailableRuntimes?: Runtime[];
        Preprocessors?: string[];
        Postprocessors?: string[];
        Supports?: {
          Pipelines: boolean;
        };
      };
    };
    answers: {
      200: {
        DesiredVersion: number;
        Delta: Delta;
      };
    };
    errors: "identity.token" | "server.not-found" | "request.invalid" | "limits.rate";
  };
  /** Say which of its runtimes a server is to use */
  "devices.servers.runtime": {
    method: "PUT";
    path: "/dev/server/:id/runtime";
    params: OfItem;
    body: {
      Runtime: string;
    };
    answers: {
      200: Server;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "server.not-found" | "server.runtime" | "request.precondition";
  };
  /** A model in the form that devices read (nxAI/models) */
  "devices.models.get": {
    method: "GET";
    path: "/dev/models/:id";
    params: OfItem;
    answers: {
      200: {
        UUID: string;
        Name: string;
        Documentation: string;
        InputDriver: string;
        InputDriverDetails: Record<string, unknown>;
        OutputDriver: string;
        OutputDriverDetails: Record<string, unknown>;
        NamedInput: ({
          Name: string;
          DataType: string;
          Shape: (number | string)[];
        })[];
        NamedOutput: ({
          Name: string;
          DataType: string;
          Shape: (number | string)[];
        })[];
        Downloads: ({
          UUID: string;
          MediaType: string;
          URL: string;
          SHA256: string;
          Size: number;
          /** Ed25519, base64; over what GET /cpt/keys says */
          Signature: string;
          KeyID: string;
        })[];
        /** UTC, ISO 8601 */
        UpdatedAt: string;
      };
    };
    errors: "identity.token" | "function.not-found" | "limits.rate";
  };
  /** Add a device to a server, or with a server of its own */
  "devices.devices.create": {
    method: "POST";
    path: "/dev/devices";
    body: {
      Name: string;
      Server?: string;
      RegistrationToken?: string;
      Runtime?: string;
      Serial?: string;
      Type?: string;
      Tags?: string[];
      Enabled?: boolean;
      Active?: boolean;
    };
    answers: {
      201: {
        UUID: string;
        /** In braces */
        NxID: string;
        /** The same where some clients look for it */
        V2: {
          id: string;
        };
        Name: string;
        Serial: string;
        Type: string;
        Tags: string[];
        Enabled: boolean;
        /** Its pictures are looked at; off until it is switched on */
        Active: boolean;
        Runtime: string | null;
        System: Reference;
        Server: {
          ID: string;
          Name: string;
          Status: Status;
          AIPluginVersion: string;
          Supports: {
            Pipelines: boolean;
          };
        };
        Groups: Owner[];
        nxAI: {
          pipelines: unknown[];
        };
        /** Of its own pipelines: grows with each save */
        PipelinesVersion: number;
        /** The number of what its server is to do */
        DesiredVersion: number;
        /** What its server has taken over of that */
        ReportedVersion: number;
        /** Its server's; `failed` when its own part of what was tried last did not run */
        Health: "unknown" | "ok" | "degraded" | "failed";
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        UpdatedAt: string;
        Key?: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "server.not-found" | "server.runtime" | "registration.refused" | "device.exists" | "device.too-many";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Remove a device */
  "devices.devices.delete": {
    method: "DELETE";
    path: "/dev/device/:id";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** One device */
  "devices.devices.get": {
    method: "GET";
    path: "/dev/device/:id";
    params: OfItem;
    answers: {
      200: Device;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** Devices of all sites */
  "devices.devices.list": {
    method: "GET";
    path: "/dev/devices";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
      Server?: string;
      Group?: string;
      Tag?: string;
      Status?: Status;
      System?: string;
    };
    answers: {
      200: Device[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Devices of a site */
  "devices.systems.devices": {
    method: "GET";
    path: "/dev/system/:id/devices";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
      Server?: string;
      Group?: string;
      Tag?: string;
      Status?: Status;
    };
    answers: {
      200: Device[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found";
  };
  /** Rename a device, tag it, switch it on or off */
  "devices.devices.change": {
    method: "PATCH";
    path: "/dev/device/:id";
    params: OfItem;
    body?: {
      Name?: string;
      Runtime?: string;
      Serial?: string;
      Type?: string;
      Tags?: string[];
      Enabled?: boolean;
      Active?: boolean;
    };
    answers: {
      200: Device;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "request.precondition" | "server.runtime" | "device.exists";
  };
  /** How many devices there are, and on what */
  "devices.devices.statistics": {
    method: "GET";
    path: "/dev/devices/statistics";
    answers: {
      200: {
        Total: number;
        Online: number;
        Active: number;
        ByRuntime: Record<string, number>;
        /** Runs of models that the servers which are there told of since they came in */
        Inferences: number;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** One device (other spelling) */
  "devices.devices.get.alias": {
    method: "GET";
    path: "/dev/devices/:id";
    params: OfItem;
    answers: {
      200: Device;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** Rename a device, tag it, switch it on or off (other spelling) */
  "devices.devices.change.alias": {
    method: "PATCH";
    path: "/dev/devices/:id";
    params: OfItem;
    body?: {
      Name?: string;
      Runtime?: string;
      Serial?: string;
      Type?: string;
      Tags?: string[];
      Enabled?: boolean;
      Active?: boolean;
    };
    answers: {
      200: Device;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "request.precondition" | "server.runtime" | "device.exists";
  };
  /** Remove a device (other spelling) */
  "devices.devices.delete.alias": {
    method: "DELETE";
    path: "/dev/devices/:id";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** Put devices into a group */
  "devices.groups.add": {
    method: "POST";
    path: "/dev/group/:id/devices";
    params: OfItem;
    body?: {
      Devices: string[];
    } | string[];
    answers: {
      200: Group;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "group.not-found" | "device.not-found";
  };
  /** Make a group */
  "devices.groups.create": {
    method: "POST";
    path: "/dev/groups";
    body: {
      Name: string;
    };
    answers: {
      201: Group;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Remove a group; its devices stay */
  "devices.groups.delete": {
    method: "DELETE";
    path: "/dev/group/:id";
    params: OfItem;
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "group.not-found";
  };
  /** One group */
  "devices.groups.get": {
    method: "GET";
    path: "/dev/group/:id";
    params: OfItem;
    answers: {
      200: Group;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "group.not-found";
  };
  /** Groups */
  "devices.groups.list": {
    method: "GET";
    path: "/dev/groups";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
    };
    answers: {
      200: Group[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Rename a group */
  "devices.groups.change": {
    method: "PATCH";
    path: "/dev/group/:id";
    params: OfItem;
    body: {
      Name: string;
    };
    answers: {
      200: Group;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "group.not-found" | "request.precondition";
  };
  /** Take a device out of a group */
  "devices.groups.remove": {
    method: "DELETE";
    path: "/dev/device/:id/group/:group";
    params: {
      id: string;
      group: string;
    };
    answers: {
      200: Reply;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "group.not-found" | "device.not-found";
  };
  /** Pipelines of a device */
  "devices.pipelines.get": {
    method: "GET";
    path: "/dev/device/:id/pipelines";
    params: OfItem;
    answers: {
      200: Pipeline[];
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** Replace the pipelines of a device */
  "devices.pipelines.put": {
    method: "PUT";
    path: "/dev/device/:id/pipelines";
    params: OfItem;
    body?: PipelineGiven[];
    answers: {
      200: Pipeline[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "pipeline.refused" | "request.precondition";
  };
  /** Add pipelines to those of a device */
  "devices.pipelines.add": {
    method: "POST";
    path: "/dev/device/:id/pipelines";
    params: OfItem;
    body?: PipelineGiven | PipelineGiven[];
    answers: {
      200: Pipeline[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "pipeline.refused" | "request.precondition";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Remove one pipeline with what is chained to it */
  "devices.pipelines.remove": {
    method: "DELETE";
    path: "/dev/device/:id/pipeline/:pipeline";
    params: {
      id: string;
      pipeline: string;
    };
    answers: {
      200: Pipeline[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "pipeline.refused" | "request.precondition" | "pipeline.not-found";
  };
  /** Add a pipeline of one model each */
  "devices.pipelines.functions": {
    method: "POST";
    path: "/dev/device/:id/functions";
    params: OfItem;
    body?: ({
      FunctionUUID: string;
    })[];
    answers: {
      200: Pipeline[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "pipeline.refused" | "request.precondition";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Give other devices of the site this device's pipelines in place of theirs */
  "devices.pipelines.clone": {
    method: "POST";
    path: "/dev/device/:id/pipelines/clone";
    params: OfItem;
    query: {
      /** 1: nothing is changed */
      dryRun?: "0" | "1";
    };
    body: {
      Devices: string[];
    };
    answers: {
      200: {
        Applied: string[];
        Rejected: ({
          Device: string;
          Reason: string;
          Issues: unknown[];
        })[];
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "site.offline" | "device.none-applicable";
  };
  /** Replace what the listed devices of a site run */
  "devices.pipelines.assign": {
    method: "PUT";
    path: "/dev/system/:id/devices/pipelines";
    params: OfItem;
    query: {
      /** 1: nothing is changed */
      dryRun?: "0" | "1";
    };
    body: {
      Devices: string[];
      Functions?: string[];
      Pipelines?: PipelineGiven[];
    };
    answers: {
      200: {
        Applied: string[];
        Rejected: ({
          Device: string;
          Reason: string;
          Issues: unknown[];
        })[];
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "site.not-found" | "site.offline" | "device.none-applicable";
  };
  /** What a device ran before, newest first */
  "devices.pipelines.history": {
    method: "GET";
    path: "/dev/device/:id/pipelines/history";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        Version: number;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        CreatedBy: string;
        Note: string;
        Pipelines: Pipeline[];
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** Save an earlier revision again, as a new one */
  "devices.pipelines.rollback": {
    method: "POST";
    path: "/dev/device/:id/pipelines/rollback";
    params: OfItem;
    body: {
      Version: number;
    };
    answers: {
      200: Pipeline[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "pipeline.refused" | "request.precondition" | "pipeline.not-found";
  };
  /** Bring a change of pipelines to many devices in stages */
  "devices.rollouts.create": {
    method: "POST";
    path: "/dev/rollouts";
    query: {
      /** 1: nothing is kept or changed */
      dryRun?: "0" | "1";
    };
    body: {
      Name?: string;
      /** All that each device is to run, in place of what it has */
      Pipelines?: PipelineGiven[];
      /** Instead: only this model is brought, settings stay */
      Function?: string;
      Version?: number;
      /** Instead of Version; `default` when neither is given */
      Alias?: string;
      /** In whose place; Function itself unless given */
      Replaces?: string;
      /** What any of Devices, Groups and Systems names; with Tags only those that have one of them */
      Target: {
        Devices?: string[];
        Groups?: string[];
        Systems?: string[];
        Tags?: string[];
      };
      Stages?: StageGiven[];
      Abort?: AbortGiven;
      /** true unless given: what fails is taken back by itself */
      Rollback?: boolean;
      /** 600 unless given: until a device must have reported */
      TimeoutSeconds?: number;
      /** TimeoutSeconds under another name */
      Timeout?: number;
    };
    answers: {
      200: {
        Stages: ({
          Devices: string[];
          HoldSeconds: number;
        })[];
        Skipped: ({
          Device: string;
          Reason: string;
        })[];
      };
      201: Rollout;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found" | "group.not-found" | "site.not-found" | "device.none-applicable" | "rollout.too-large" | "rollout.overlaps" | "rollout.too-many";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** Rollouts, newest first */
  "devices.rollouts.list": {
    method: "GET";
    path: "/dev/rollouts";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      Status?: "running" | "paused" | "rolling_back" | "succeeded" | "cancelled" | "aborted" | "rolled_back";
    };
    answers: {
      200: Rollout[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** One rollout */
  "devices.rollouts.get": {
    method: "GET";
    path: "/dev/rollout/:id";
    params: OfItem;
    query: {
      /** Answer when it has this status, or one of several with commas between, or `ended`; or at the timeout. */
      wait?: string;
      /** Seconds to wait; default 30. */
      timeout?: number;
    };
    answers: {
      200: Rollout;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "rollout.not-found";
  };
  /** How far each device of a rollout is, in the order of the stages */
  "devices.rollouts.devices": {
    method: "GET";
    path: "/dev/rollout/:id/devices";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      Status?: "queued" | "changing" | "healthy" | "failed" | "timed_out" | "overtaken" | "gone" | "skipped";
    };
    answers: {
      200: RolloutDevice[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "rollout.not-found";
  };
  /** Pause, resume, cancel or take back a rollout */
  "devices.rollouts.act": {
    method: "PATCH";
    path: "/dev/rollout/:id";
    params: OfItem;
    body: {
      Action: "pause" | "resume" | "cancel" | "rollback";
    };
    answers: {
      200: Rollout;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "rollout.not-found" | "rollout.over" | "request.precondition";
  };
  /** Follow what happens to sites, servers, devices and rollouts (SSE) */
  "devices.events.stream": {
    method: "GET";
    path: "/dev/events";
    query: {
      /** One type, or all of a noun: `rollout.*` */
      Type?: string;
      Subject?: string;
    };
    answers: {
      200: string;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "event.pruned";
  };
  /** Who changed what, newest first */
  "devices.audit.list": {
    method: "GET";
    path: "/dev/audit";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      /** One type, or all of a noun: `rollout.*` */
      Type?: string;
      Subject?: string;
      By?: string;
    };
    answers: {
      200: Entry[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Samples of what a server counted, the oldest first */
  "devices.telemetry.put": {
    method: "POST";
    path: "/dev/server/:id/telemetry";
    params: OfItem;
    body: {
      Samples: SampleGiven[];
    };
    answers: {
      200: {
        Accepted: number;
      };
    };
    errors: "identity.token" | "server.not-found" | "request.invalid" | "limits.rate";
  };
  /** What was counted of a device, newest first */
  "devices.telemetry.device": {
    method: "GET";
    path: "/dev/device/:id/telemetry";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      /** Ended at this time or later; RFC 3339 */
      From?: string;
      /** Ended before this time */
      To?: string;
    };
    answers: {
      200: ({
        Sequence: number;
        /** UTC, ISO 8601 */
        From: string;
        /** UTC, ISO 8601 */
        To: string;
        Frames: number;
        Errors: number;
        Detections: number;
        Inferences: number | null;
        Dropped: number | null;
        QueueDepth: number | null;
        LatencyP50: number | null;
        LatencyP95: number | null;
        CPU: number | null;
        Memory: number | null;
        Temperature: number | null;
        Pipelines: ({
          UUID: string;
          Frames: number;
          Detections: number;
          /** Runs of its model and of those chained to it; Frames unless given */
          Inferences?: number;
          LatencyP50?: number;
          LatencyP95?: number;
        })[];
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "device.not-found";
  };
  /** How a server is, newest first; nothing of what its devices see */
  "devices.telemetry.server": {
    method: "GET";
    path: "/dev/server/:id/telemetry";
    params: OfItem;
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      /** Ended at this time or later; RFC 3339 */
      From?: string;
      /** Ended before this time */
      To?: string;
    };
    answers: {
      200: ({
        Sequence: number;
        /** UTC, ISO 8601 */
        From: string;
        /** UTC, ISO 8601 */
        To: string;
        /** UTC, ISO 8601 */
        ReceivedAt: string;
        /** Samples that the server gave up before this one */
        Dropped: number;
        Agent: {
          UptimeSeconds?: number;
          MemoryMiB?: number;
          CPUPercent?: number;
          MachineMemoryFreeMiB?: number;
          /** Degrees Celsius where the machine is hottest; absent where none is measured */
          Temperature?: number;
        };
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "server.not-found";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = {
  Message: string;
  Field?: {
    Name: string;
    Message: string;
  };
  AuthorizationInvalid?: boolean;
  UUID?: string;
  /** Stable; of a closed vocabulary */
  Code: string;
  RequestID: string;
};

export interface AbortGiven {
  /** More failed devices than this */
  Failures?: number;
  /** More devices than this that did not report in time */
  TimedOut?: number;
  /** A larger share than this of the changed devices, failed or timed out (Kinds) */
  FailurePercent?: number;
  /** A larger share than this of frames of changed devices that could not be looked at since */
  ErrorPercent?: number;
  /** ErrorPercent counts when so many frames were; 100 unless given */
  MinFrames?: number;
  /** Shares count when so many devices were changed; 1 unless given */
  MinDevices?: number;
  /** What FailurePercent counts; both unless given. Without any bound it is of these that none may be */
  Kinds?: ("failed" | "timed_out")[];
}

export interface Delta {
  Runtime?: string;
  Settings?: ServerSettings;
  /** Whose pipelines are others than were reported */
  Devices?: ({
    UUID: string;
    PipelinesVersion: number;
  })[];
  /** Reported, and not its devices */
  Surplus?: string[];
}

export interface Device {
  UUID: string;
  /** In braces */
  NxID: string;
  /** The same where some clients look for it */
  V2: {
    id: string;
  };
  Name: string;
  Serial: string;
  Type: string;
  Tags: string[];
  Enabled: boolean;
  /** Its pictures are looked at; off until it is switched on */
  Active: boolean;
  Runtime: string | null;
  System: Reference;
  Server: {
    ID: string;
    Name: string;
    Status: Status;
    AIPluginVersion: string;
    Supports: {
      Pipelines: boolean;
    };
  };
  Groups: Owner[];
  nxAI: {
    pipelines: unknown[];
  };
  /** Of its own pipelines: grows with each save */
  PipelinesVersion: number;
  /** The number of what its server is to do */
  DesiredVersion: number;
  /** What its server has taken over of that */
  ReportedVersion: number;
  /** Its server's; `failed` when its own part of what was tried last did not run */
  Health: "unknown" | "ok" | "degraded" | "failed";
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}

export interface Entry {
  Sequence: number;
  /** UTC, ISO 8601 */
  At: string;
  Type: string;
  /** What it is about: its UUID */
  Subject: string;
  By: {
    ID: string;
    Name: string | null;
  } | null;
  Details: Record<string, unknown>;
}

export interface Group {
  UUID: string;
  Name: string;
  DeviceCount: number;
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}

export type Health = "unknown" | "ok" | "degraded" | "failed";

export interface OfItem {
  id: string;
}

export interface Owner {
  UUID: string;
  Name: string;
}

export interface Pipeline {
  UUID: string;
  Name: string;
  modelUUID: string;
  modelVersion: number;
  resizingMethod: "Letterbox" | "Stretch" | "Crop";
  Preprocessor: string;
  Postprocessor: string;
  PostprocessorSettings: Record<string, unknown>;
  chains: unknown[];
  modelNMS?: number;
  /** Polygons within which what is found counts, in shares of width and height */
  Mask?: ((unknown[])[])[];
  /** Those that are shown; all, when absent */
  Classes?: string[];
}

export interface PipelineGiven {
  UUID?: string;
  Name?: string;
  modelUUID: string;
  /** That of the alias `default` when it is saved */
  modelVersion?: number;
  /** Of models that take one */
  modelNMS?: number;
  resizingMethod?: "Letterbox" | "Stretch" | "Crop";
  Preprocessor?: string;
  Postprocessor?: string;
  PostprocessorSettings?: Record<string, string | number | boolean>;
  /** Polygons within which what is found counts, in shares of width and height */
  Mask?: ((unknown[])[])[];
  /** Those that are shown; all, when absent */
  Classes?: string[];
  chains?: ({
    Mode: "Direct" | "Conditional" | "FeatureExtraction";
    /** Conditional: the alarm that has to be true */
    Field?: string;
    /** FeatureExtraction: the class whose boxes are cut out */
    Label?: string;
    UUID?: string;
    Name?: string;
    modelUUID: string;
    /** That of the alias `default` when it is saved */
    modelVersion?: number;
    /** Of models that take one */
    modelNMS?: number;
    resizingMethod?: "Letterbox" | "Stretch" | "Crop";
    Preprocessor?: string;
    Postprocessor?: string;
    PostprocessorSettings?: Record<string, string | number | boolean>;
    /** Polygons within which what is found counts, in shares of width and height */
    Mask?: ((unknown[])[])[];
    /** Those that are shown; all, when absent */
    Classes?: string[];
    chains?: ({
      Mode: "Direct" | "Conditional" | "FeatureExtraction";
      /** Conditional: the alarm that has to be true */
      Field?: string;
      /** FeatureExtraction: the class whose boxes are cut out */
      Label?: string;
      UUID?: string;
      Name?: string;
      modelUUID: string;
      /** That of the alias `default` when it is saved */
      modelVersion?: number;
      /** Of models that take one */
      modelNMS?: number;
      resizingMethod?: "Letterbox" | "Stretch" | "Crop";
      Preprocessor?: string;
      Postprocessor?: string;
      PostprocessorSettings?: Record<string, string | number | boolean>;
      /** Polygons within which what is found counts, in shares of width and height */
      Mask?: ((unknown[])[])[];
      /** Those that are shown; all, when absent */
      Classes?: string[];
      chains?: ({
        Mode: "Direct" | "Conditional" | "FeatureExtraction";
        /** Conditional: the alarm that has to be true */
        Field?: string;
        /** FeatureExtraction: the class whose boxes are cut out */
        Label?: string;
        UUID?: string;
        Name?: string;
        modelUUID: string;
        /** That of the alias `default` when it is saved */
        modelVersion?: number;
        /** Of models that take one */
        modelNMS?: number;
        resizingMethod?: "Letterbox" | "Stretch" | "Crop";
        Preprocessor?: string;
        Postprocessor?: string;
        PostprocessorSettings?: Record<string, string | number | boolean>;
        /** Polygons within which what is found counts, in shares of width and height */
        Mask?: ((unknown[])[])[];
        /** Those that are shown; all, when absent */
        Classes?: string[];
      })[];
    })[];
  })[];
}

export interface Reference {
  ID: string;
  Name: string;
}

export interface Reply {
  Message: string;
  UUID: string;
}

export interface Rollout {
  UUID: string;
  Name: string;
  Status: "running" | "paused" | "rolling_back" | "succeeded" | "cancelled" | "aborted" | "rolled_back";
  Reason: string | null;
  /** The one under way, from 0 */
  Stage: number;
  Stages: ({
    /** In this stage */
    Devices: number;
    HoldSeconds: number;
  })[];
  Counts: {
    Total: number;
    Queued: number;
    InProgress: number;
    Succeeded: number;
    Failed: number;
    TimedOut: number;
    Overtaken: number;
    Skipped: number;
    RollingBack: number;
    RolledBack: number;
  };
  Figures: {
    Frames: number;
    Errors: number;
  } | null;
  Change: {
    Pipelines: unknown[];
  } | {
    Replaces: string;
    Function: string;
    Version: number;
  };
  Abort: AbortGiven;
  Rollback: boolean;
  TimeoutSeconds: number;
  CreatedBy: string;
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
  EndedAt: string | null;
}

export interface RolloutDevice {
  Device: Owner;
  Server: Reference | null;
  Stage: number | null;
  Status: "queued" | "changing" | "healthy" | "failed" | "timed_out" | "overtaken" | "gone" | "skipped";
  Rollback: "asked" | "done" | "unanswered" | null;
  Error: string | null;
  /** PipelinesVersion that it had, and is taken back to */
  VersionBefore: number;
  Version: number | null;
  VersionBack: number | null;
  /** UTC, ISO 8601 */
  Since: string;
}

export interface Runtime {
  Name: string;
  Version: string;
  Targets: string[];
}

export interface SampleGiven {
  Sequence: number;
  /** How long ago it ended; the server's clock need not be right */
  AgeMs: number;
  DurationMs: number;
  /** Samples that were given up before this one */
  Dropped?: number;
  Agent?: {
    UptimeSeconds?: number;
    MemoryMiB?: number;
    CPUPercent?: number;
    MachineMemoryFreeMiB?: number;
    /** Degrees Celsius where the machine is hottest; absent where none is measured */
    Temperature?: number;
  };
  Devices: ({
    UUID: string;
    /** That were looked at, well or not */
    Frames: number;
    /** That could not be looked at */
    Errors: number;
    /** Pictures that were given up unseen, since newer ones came */
    Dropped?: number;
    /** The most that waited at once */
    QueueDepth?: number;
    LatencyP50?: number;
    LatencyP95?: number;
    Pipelines: ({
      UUID: string;
      Frames: number;
      Detections: number;
      /** Runs of its model and of those chained to it; Frames unless given */
      Inferences?: number;
      LatencyP50?: number;
      LatencyP95?: number;
    })[];
  })[];
}

export interface Server {
  ID: string;
  Name: string;
  System: Reference;
  Status: Status;
  Health: Health;
  Version: string;
  AIPluginVersion: string;
  Runtime: Runtime | null;
  RuntimeWanted: string | null;
  AvailableRuntimes: Runtime[];
  Preprocessors: string[];
  Postprocessors: string[];
  Supports: {
    Pipelines: boolean;
  };
  Settings: ServerSettings;
  DesiredVersion: number;
  ReportedVersion: number;
  Errors: string[];
  LastSeen: string | null;
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}

export interface ServerSettings {
  /** Between two samples; 0: none are told */
  TelemetrySeconds?: number;
}

export interface StageGiven {
  Count?: number;
  Percent?: number;
  /** 300 unless given: how long a stage is watched when all of it is well */
  HoldSeconds?: number;
}

export type Status = "online" | "offline";

export interface System {
  ID: string;
  Name: string;
  Organisation: Owner;
  Status: Status;
  ServerCount: number;
  DeviceCount: number;
  LastSeen: string | null;
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}
