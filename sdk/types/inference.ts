// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate inference gateway: every operation by its id. */
export interface Operations {
  /** Ask a model in a conversation */
  "inference.chat": {
    method: "POST";
    path: "/inference/v1/chat/completions";
    body: {
      /** Absent: the instance's own */
      model?: string;
      stream?: boolean | null;
      stream_options?: {
        include_usage?: boolean | null;
      } | null;
      max_tokens?: number | null;
      max_completion_tokens?: number | null;
      n?: number | null;
      messages: (Record<string, unknown>)[];
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "limits.rate" | "request.invalid" | "request.too-large" | "inference.unavailable" | "inference.model" | "inference.quota" | "inference.upstream" | "inference.too-slow" | "inference.busy";
  };
  /** Let a model go on with a text */
  "inference.completions": {
    method: "POST";
    path: "/inference/v1/completions";
    body: {
      /** Absent: the instance's own */
      model?: string;
      stream?: boolean | null;
      stream_options?: {
        include_usage?: boolean | null;
      } | null;
      max_tokens?: number | null;
      max_completion_tokens?: number | null;
      n?: number | null;
      prompt: string | unknown[];
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "limits.rate" | "request.invalid" | "request.too-large" | "inference.unavailable" | "inference.model" | "inference.quota" | "inference.upstream" | "inference.too-slow" | "inference.busy";
  };
  /** Make vectors of texts */
  "inference.embeddings": {
    method: "POST";
    path: "/inference/v1/embeddings";
    body: {
      /** Absent: the instance's own */
      model?: string;
      input: string | unknown[];
    };
    answers: {
      200: Record<string, unknown>;
    };
    errors: "identity.unauthorized" | "limits.rate" | "request.invalid" | "request.too-large" | "inference.unavailable" | "inference.model" | "inference.quota" | "inference.upstream" | "inference.too-slow" | "inference.busy";
  };
  /** List models */
  "inference.models": {
    method: "GET";
    path: "/inference/v1/models";
    answers: {
      200: {
        object: "list";
        data: ({
          id: string;
          object: "model";
          created: number;
          owned_by: string;
        })[];
      };
    };
    errors: "identity.unauthorized" | "limits.rate";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = ErrorBody;

export interface ErrorBody {
  error: {
    message: string;
    type: string;
    code: string | null;
    param: string | null;
  };
}
