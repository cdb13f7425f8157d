// The messages as proto.ts decodes them, one interface each. Made by `npm run messages` from the protos: do not edit.

export interface Status { code: number; message: string; details: Any[] }
export interface Any { type_url: string; value: Buffer }
export interface ErrorInfo { reason: string; domain: string; metadata: Map<string, string> }
export interface Wrap { frame: Buffer }

// ---- account.proto ----
export type GetAccountRequest = Record<string, never>
export interface GetAccountResponse { account: string; asset: string; scale: number; budget: bigint; reserved: bigint; spent: bigint }
export interface ListChargesRequest { page_size: number; page_token: string }
export interface ListChargesResponse { charges: AccountCharge[]; next_page_token: string }
export interface AccountCharge { id: string; offer: string; amount: bigint; at: bigint }

// ---- agreement.proto ----
export interface Agreement {
  version: bigint; proposer?: Party; acceptor?: Party; asset: string; scale: number; suite: string; claim_window_ms: bigint
  max_skew_ms: bigint; rails: string[]; max_open_holds: number; max_hold_ms: bigint; proposed_at: bigint; previous: Buffer
}
export interface Party { fingerprint: Buffer; grid: string; nonce: Buffer; credit_limit: bigint; max_unagreed: bigint }

// ---- catalog.proto ----
export interface Offer {
  kind: number; name: string; description: string; tags: string[]; version: string; input_schema: Buffer; output_schema: Buffer
  features: string[]; prices: PriceLine[]; asset: string; scale: number; charge_on: number; place: string; data_policy: string
  energy: EnergyIntensity[]; input_bytes: number; max_duration_ms: bigint; captured_type: string; captured: Buffer; origin: Buffer
}
export interface CatalogRoot { origin: Buffer; version: bigint; expires_at: bigint; offers: Buffer[] }
export interface Advertisement { epoch: bigint; route?: OriginRoute; end?: boolean }
export interface OriginRoute { descriptors: Buffer[]; root: Buffer; path: Buffer[]; tariff_seq: bigint; path_names: string[] }
export interface SearchRequest {
  text: string; kind: number; unit: string; max_price: bigint; policy?: Policy; origin: string; page_size: number; page_token: string
}
export interface SearchResponse { offers: ListedOffer[]; next_page_token: string }
export interface ListedOffer {
  ref: string; origin: string; digest: Buffer; offer?: Offer; prices: PriceLine[]; path: string[]; origin_fingerprint: Buffer
}
export interface CatalogServiceGetRequest { ref: string }
export interface CatalogServiceGetResponse { offer?: ListedOffer }
export type WatchRequest = Record<string, never>
export interface WatchResponse { upsert?: ListedOffer; removed?: string; synced?: boolean }

// ---- descriptor.proto ----
export interface Descriptor {
  grid: string; version: bigint; root_key: Buffer; previous: Buffer; issued_at: bigint; signing_keys: SigningKey[]; certificates: Buffer[]
  endpoints: Endpoint[]; features: string[]; place: string
}
export interface SigningKey { public_key: Buffer; not_before: bigint; not_after: bigint }
export interface Endpoint { kind: number; address: string }

// ---- directory.proto ----
export interface GetDescriptorRequest { after_version: bigint }
export interface GetDescriptorResponse { descriptors: Buffer[] }
export interface ProposeRequest { descriptors: Buffer[]; agreement: Buffer }
export interface ProposeResponse { state: number; agreement: Buffer }

// ---- entry.proto ----
export interface Entry {
  kind: number; seen: bigint; at: bigint; agreement?: AgreementEntry; tariff?: Tariff; order?: Order; grant?: Grant; cancel?: Cancel
  reject?: Reject; charge?: Charge; credit?: Credit; refuse?: Refuse; withdraw?: Withdraw; expire?: Expire; dispute?: Dispute
  payment?: Payment; checkpoint?: Checkpoint
}
export interface AgreementEntry { agreement: Buffer }
export interface Tariff { origin: Buffer; markup_num: bigint; markup_den: bigint; fee: bigint; expires_at: bigint; catalog: Buffer }
export interface Order {
  id: string; offer_digest: Buffer; tariff_seq: bigint; input?: PayloadDescriptor; prices: PriceLine[]; max_charge: bigint; grant: bigint
  deadline: bigint; hop_limit: number; path: string[]; actors: string[]; policy?: Policy; nonce: Buffer; session: string; account: string
  group: string; authority: Buffer
}
export interface Policy { places: string[] }
export interface Grant { order_seq: bigint; amount: bigint }
export interface Cancel { order_seq: bigint; comment: string }
export interface Reject { order_seq: bigint; problem?: Problem }
export interface Charge {
  order_seq: bigint; quantities: bigint[]; amount: bigint; final: boolean; state: number; proof?: RecordProof; problem?: Problem
}
export interface Credit { order_seq: bigint; amount: bigint; comment: string }
export interface Refuse { entry_seq: bigint; rule: string; comment: string }
export interface Withdraw { entry_seq: bigint }
export interface Expire { order_seq: bigint }
export interface Dispute { order_seq: bigint; amount: bigint; comment: string }
export interface Payment { rail: string; reference: string; amount: bigint }
export interface Checkpoint { a: bigint; b: bigint; digest: Buffer }

// ---- envelope.proto ----
export interface Envelope { payload_type: string; payload: Buffer; signatures: Signature[] }
export interface Signature { key_id: Buffer; value: Buffer }
export interface Payload { media_type: string; data: Buffer }
export interface PayloadDescriptor { media_type: string; digest: Buffer; size: bigint; encoding: string }
export interface Problem { reason: string; message: string; metadata: Map<string, string> }

// ---- event.proto ----
export interface Event {
  order_seq: bigint; number: bigint; at: bigint; state_change?: StateChange; progress?: Progress; chunk?: Chunk
  input_request?: InputRequest; grant_needed?: GrantNeeded; result?: Result; gap?: Gap; input_reply?: InputReply; resume?: Resume
  byte_credit?: ByteCredit; $raw?: Buffer
}
export interface StateChange { state: number }
export interface Progress { done: bigint; total: bigint; comment: string }
export interface Chunk { payload?: Payload }
export interface InputRequest { request: bigint; prompt: string; schema: Buffer }
export interface GrantNeeded { amount: bigint }
export interface Result { state: number; output?: Payload; is_error: boolean; problem?: Problem }
export interface Gap { first: bigint; last: bigint; problem?: Problem }
export interface InputReply { request: bigint; payload?: Payload; id: string }
export interface Resume { after_seq: bigint; credit: bigint }
export interface ByteCredit { bytes: bigint }

// ---- export.proto ----
export interface ExportRecord { header?: ExportHeader; group?: ExportGroup; end?: ExportEnd }
export interface ExportHeader {
  version: number; exporter: Buffer; proposer_descriptors: Buffer[]; acceptor_descriptors: Buffer[]; agreement: Buffer
}
export interface ExportGroup { side: number; first_seq: bigint; entries: Buffer[]; signature: Buffer }
export interface ExportEnd {
  proposer_entries: bigint; proposer_signatures: bigint; acceptor_entries: bigint; acceptor_signatures: bigint; sha256: Buffer
}

// ---- invocation.proto ----
export interface Invocation {
  id: string; offer: string; input?: Payload; max_charge: bigint; timeout_ms: bigint; first_grant: bigint; policy?: Policy; session: string
  group: string; traceparent: string
}
export interface Outcome { id: string; state: number; output?: Payload; is_error: boolean; problem?: Problem; receipt?: Receipt }
export interface Receipt {
  charge: bigint; asset: string; scale: number; usage: UsageLine[]; energy?: Energy; executed_by: string; place: string; path: string[]
  proof?: RecordProof; hold: number
}
export interface InvocationEvent { id: string; event?: Event; outcome?: Outcome; refused?: Problem }
export interface InvocationStatus {
  id: string; offer: string; state: number; created_at: bigint; ended_at: bigint; reserved: bigint; receipt?: Receipt; problem?: Problem
}
export interface CallRequest { invocation?: Invocation }
export interface CallResponse { outcome?: Outcome }
export interface InvokeRequest { invocation?: Invocation }
export interface InvokeResponse { event?: InvocationEvent }
export interface StreamRequest {
  invocations: Invocation[]; inputs: SendInputRequest[]; cancels: CancelRequest[]; subscriptions: SubscribeRequest[]
  credits: StreamCredit[]
}
export interface StreamCredit { id: string; bytes: bigint }
export interface StreamResponse { events: InvocationEvent[] }
export interface SubscribeRequest { id: string; after_seq: bigint }
export interface SubscribeResponse { event?: InvocationEvent }
export interface SendInputRequest { id: string; reply?: InputReply }
export type SendInputResponse = Record<string, never>
export interface CancelRequest { id: string; comment: string }
export interface CancelResponse { status?: InvocationStatus }
export interface InvocationServiceGetRequest { id: string }
export interface InvocationServiceGetResponse { status?: InvocationStatus }
export interface ListRequest { page_size: number; page_token: string; states: number[] }
export interface ListResponse { invocations: InvocationStatus[]; next_page_token: string }

// ---- link.proto ----
export interface LinkRequest { frame?: Frame }
export interface LinkResponse { frame?: Frame }
export interface Frame {
  open: Buffer; first_seq: bigint; entries: Buffer[]; inputs: OrderInput[]; signature?: HeadSignature; events: Event[]
  first_returned: bigint; returned: Buffer[]; returned_signature?: HeadSignature; advertisements: Advertisement[]; ping: bigint
  pong: bigint; close?: Problem; $raw?: Buffer
}
export interface OrderInput { order_seq: bigint; data: Buffer }
export interface HeadSignature {
  seq: bigint; head: Buffer; acked: bigint; acked_head: Buffer; agreed_total: Buffer; session: Buffer; signatures: Signature[]
}
export interface Open {
  genesis: Buffer; nonce: Buffer; descriptor_version: bigint; agreement_version: bigint; features: string[]; required_features: string[]
  limits?: Limits; clock: bigint; own?: Cursor; other?: Cursor; descriptors: Buffer[]
}
export interface Cursor { seq: bigint; head: Buffer }
export interface Limits { frame_bytes: number; inline_bytes: number; input_bytes: number; orders: number; hops: number }
export interface SyncCatalogRequest { genesis: Buffer; root: Buffer; have: Buffer[] }
export interface SyncCatalogResponse { offer?: Buffer; end?: bigint }
export interface TransferRequest { digest: Buffer }
export interface TransferResponse { data: Buffer }

// ---- metering.proto ----
export interface PriceLine { unit: string; num: bigint; den: bigint }
export interface UsageLine { unit: string; quantity: bigint }
export interface Energy { method: number; millijoules: bigint; lower: bigint; upper: bigint; boundary: string }
export interface EnergyIntensity { unit: string; per_atom?: Energy }

// ---- record.proto ----
export interface ExecutionRecord {
  executor: Buffer; nonce: Buffer; offer_digest: Buffer; input_digest: Buffer; output_digest: Buffer; state: number; usage: UsageLine[]
  energy?: Energy; place: string; started_at: bigint; ended_at: bigint
}
export interface RecordRoot { executor: Buffer; root: Buffer; size: bigint; signed_at: bigint }
export interface RecordProof { record: Buffer; root: Buffer; index: bigint; path: Buffer[]; $raw?: Buffer }

// By their names in the protos.
export interface Messages {
  Status: Status; Any: Any; ErrorInfo: ErrorInfo; Wrap: Wrap; GetAccountRequest: GetAccountRequest; GetAccountResponse: GetAccountResponse
  ListChargesRequest: ListChargesRequest; ListChargesResponse: ListChargesResponse; AccountCharge: AccountCharge; Agreement: Agreement
  Party: Party; Offer: Offer; CatalogRoot: CatalogRoot; Advertisement: Advertisement; OriginRoute: OriginRoute
  SearchRequest: SearchRequest; SearchResponse: SearchResponse; ListedOffer: ListedOffer
  CatalogServiceGetRequest: CatalogServiceGetRequest; CatalogServiceGetResponse: CatalogServiceGetResponse; WatchRequest: WatchRequest
  WatchResponse: WatchResponse; Descriptor: Descriptor; SigningKey: SigningKey; Endpoint: Endpoint
  GetDescriptorRequest: GetDescriptorRequest; GetDescriptorResponse: GetDescriptorResponse; ProposeRequest: ProposeRequest
  ProposeResponse: ProposeResponse; Entry: Entry; AgreementEntry: AgreementEntry; Tariff: Tariff; Order: Order; Policy: Policy
  Grant: Grant; Cancel: Cancel; Reject: Reject; Charge: Charge; Credit: Credit; Refuse: Refuse; Withdraw: Withdraw; Expire: Expire
  Dispute: Dispute; Payment: Payment; Checkpoint: Checkpoint; Envelope: Envelope; Signature: Signature; Payload: Payload
  PayloadDescriptor: PayloadDescriptor; Problem: Problem; Event: Event; StateChange: StateChange; Progress: Progress; Chunk: Chunk
  InputRequest: InputRequest; GrantNeeded: GrantNeeded; Result: Result; Gap: Gap; InputReply: InputReply; Resume: Resume
  ByteCredit: ByteCredit; ExportRecord: ExportRecord; ExportHeader: ExportHeader; ExportGroup: ExportGroup; ExportEnd: ExportEnd
  Invocation: Invocation; Outcome: Outcome; Receipt: Receipt; InvocationEvent: InvocationEvent; InvocationStatus: InvocationStatus
  CallRequest: CallRequest; CallResponse: CallResponse; InvokeRequest: InvokeRequest; InvokeResponse: InvokeResponse
  StreamRequest: StreamRequest; StreamCredit: StreamCredit; StreamResponse: StreamResponse; SubscribeRequest: SubscribeRequest
  SubscribeResponse: SubscribeResponse; SendInputRequest: SendInputRequest; SendInputResponse: SendInputResponse
  CancelRequest: CancelRequest; CancelResponse: CancelResponse; InvocationServiceGetRequest: InvocationServiceGetRequest
  InvocationServiceGetResponse: InvocationServiceGetResponse; ListRequest: ListRequest; ListResponse: ListResponse
  LinkRequest: LinkRequest; LinkResponse: LinkResponse; Frame: Frame; OrderInput: OrderInput; HeadSignature: HeadSignature; Open: Open
  Cursor: Cursor; Limits: Limits; SyncCatalogRequest: SyncCatalogRequest; SyncCatalogResponse: SyncCatalogResponse
  TransferRequest: TransferRequest; TransferResponse: TransferResponse; PriceLine: PriceLine; UsageLine: UsageLine; Energy: Energy
  EnergyIntensity: EnergyIntensity; ExecutionRecord: ExecutionRecord; RecordRoot: RecordRoot; RecordProof: RecordProof
}
