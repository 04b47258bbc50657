"""Every setting of a run, typed, with a default that runs on a bare machine; one section for each part.

Guarantees: each setting has its range or its choices, its unit and its meaning on one line (`configs.fields`), and
`configs.load` accepts nothing else. Every section is plain data that any floor may import. `configs/*.yaml` override
these defaults, `key=value` overrides both. `python -m configs.describe KEY` prints what a setting means.
"""

from dataclasses import dataclass, field

from configs import places
from configs.domains import DEFAULT, find
from configs.fields import DAY, FUNCTION, flag, num, one_of, text
from configs.schema_services import Inference, Judge, Render, ServeHttp
from configs.schema_services import Sandbox as Sandbox
from configs.schema_services import Workers as Workers

NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}"


@dataclass
class Run:
    """The run's folder, its length, and what is kept of it."""

    name: str = text("run", "its folder; a name that is taken gets a number", form=NAME, form_is="a folder's name")
    dir: str = text("runs", "runs/NAME is written, runs/latest points to it", form_is="a folder's path")
    seed: int = num(0, "", "seed of the order of images, of drawn charts and of sampling", ge=0, le=2**31 - 1)
    steps: int = num(30, "steps", "optimiser steps, each with one weight version", ge=1, le=10_000_000)
    checkpoint_every: int = num(5, "steps", "distance of two checkpoints", ge=1, le=10_000_000)
    keep: int = num(2, "checkpoints", "checkpoints kept, the best one not counted", ge=1, le=100_000)
    checkpoint_s: float = num(
        600.0, "s", "deadline of the slowest worker's part of a checkpoint (all of a 7B model: 116 GB)", gt=0, le=DAY
    )
    restarts: int = num(
        0, "restarts", "times that a run whose learner died goes on by itself from its last checkpoint", ge=0, le=10_000
    )
    wandb: bool = flag(False, "log to Weights & Biases as well as to TensorBoard")
    trajectories_mb: int = num(
        4096, "MB", "disk for trajectories and their pictures, to look at (python -m training.view)", ge=0, le=10**9
    )
    sampled_groups: int = num(2, "groups", "groups of each step whose pictures go to TensorBoard", ge=0, le=1000)
    refuse_blind: bool = flag(False, "stop a run whose pictures change nothing of what the policy says")
    record: bool = flag(False, "keep every batch, to be trained on again (python -m training.rerun)")


@dataclass
class Data:
    """The images to learn from."""

    images: str = text("drawn", "a folder of images, or `drawn`: the shipped charts of another renderer")
    domain: str = text(
        DEFAULT, "what the images show and the policy writes: one of configs/domains by its name, or FILE.py with one"
    )
    count: int = num(1024, "images", "drawn images to train on", ge=1, le=10_000_000)
    max_pixels: int = num(
        1_003_520, "px", "larger images are scaled down to this area (Qwen2.5-VL: 1280 * 28 * 28)", ge=784, le=10**8
    )


@dataclass
class PolicyModel:
    """The vision-language model that is trained."""

    path: str = text("embedded", "a hub name, a local folder, or `embedded`: the package's own for the domain")
    dtype: str = one_of(
        "float32",
        "number format of engine and learner",
        float32="Full precision: the CPU's format.",
        bfloat16="Half the memory at float32's range: the GPUs' format.",
    )
    freeze_vision: bool = flag(False, "train the language model alone")


@dataclass
class Engine:
    """The vLLM engines that sample from the policy."""

    replicas: int = num(1, "engines", "engines, each a PolicyActor of its own", ge=1, le=4096)
    max_replicas: int = num(
        0, "engines", "up to so many join while the run goes on, where nodes have room; 0: none do", ge=0, le=4096
    )
    gpus: int = num(0, "GPUs", "GPUs of one engine = tensor parallel size; 0 runs on the CPU", ge=0, le=64)
    cpus: float = num(1.0, "CPUs", "what Ray sets aside for one engine", ge=0, le=1024)
    threads: int = num(1, "threads", "OpenMP threads of a CPU engine", ge=1, le=1024)
    max_model_len: int = num(2048, "tokens", "prompt and answer together, images included", ge=16, le=10_000_000)
    max_num_seqs: int = num(64, "turns", "turns that one engine samples at once", ge=1, le=65_536)
    kv_cache_mb: int = num(
        256, "MB", "key-value cache of a CPU engine; a GPU engine takes gpu_memory_utilization", ge=1, le=10_000_000
    )
    gpu_memory_utilization: float = num(0.85, "share", "share of a GPU's memory that a GPU engine takes", gt=0, le=1)
    max_num_batched_tokens: int = num(
        8192, "tokens", "tokens that a GPU engine computes in one step, prompts included", ge=64, le=1_000_000
    )
    prefix_caching: bool = flag(True, "a later turn computes its new tokens only")
    enforce_eager: bool = flag(True, "false captures CUDA graphs: faster turns, slower start")
    sync: str = one_of(
        "auto",
        "how new weights reach GPU engines",
        auto="The same as nccl.",
        nccl="Broadcast between the GPUs of learner and engines.",
        host="Through host memory, between turns; one learner worker and one engine share one GPU.",
    )
    ready_s: float = num(300.0, "s", "deadline of an engine's start", gt=0, le=DAY)
    turn_s: float = num(120.0, "s", "deadline of one sampled turn", gt=0, le=DAY)


@dataclass
class Sampling:
    """How tokens are drawn from the policy, and how many."""

    temperature: float = num(
        1.0, "", "divides the logits; 1 samples what is trained; evaluation samples at 1 and greedily", gt=0, le=100
    )
    max_tokens: int = num(256, "tokens", "longest turn", ge=1, le=10_000_000)
    max_trajectory_tokens: int = num(
        1024, "tokens", "longest trajectory, images and feedback included", ge=16, le=10_000_000
    )


@dataclass
class Rollout:
    """How trajectories are made: groups, turns, deadlines."""

    actors: int = num(1, "actors", "processes that run trajectories, each many at once", ge=1, le=4096)
    group_size: int = num(8, "trajectories", "trajectories of one image, whose rewards are compared: G", ge=2, le=4096)
    max_turns: int = num(4, "turns", "turns of a trajectory, the answer included: T", ge=1, le=64)
    concurrency: int = num(6, "groups", "groups under way in one actor", ge=1, le=65_536)
    max_wait_s: float = num(
        30.0, "s", "no new group starts while a request would wait longer than this anywhere", gt=0, le=DAY
    )
    stuck_s: float = num(60.0, "s", "a request that has waited longer is named in the output", gt=0, le=DAY)
    trajectory_s: float = num(300.0, "s", "deadline of one trajectory, all its turns", gt=0, le=7 * DAY)
    retries: int = num(2, "attempts", "further attempts after an outage, before a trajectory is void", ge=0, le=1000)
    single_turn: bool = flag(False, "the prompt offers no tool; answer at once (evaluation, ablation)")
    share_first: bool = flag(False, "a group shares its first call: only what members make of its feedback is compared")
    direct_share: float = num(
        0.0, "share", "share of groups that run with a single turn, so that both prompts are trained", ge=0, le=1
    )


@dataclass
class Feedback:
    """What the policy is shown after a call of the tool."""

    include_render: bool = flag(False, "show the policy its own render as well as the judge's feedback")
    max_chars: int = num(
        600, "characters", "longest feedback of the judge that the policy is shown", ge=0, le=1_000_000
    )


@dataclass
class Prompts:
    """Texts of the dialogue; `{feedback}` is replaced in `feedback`. Tags are fixed: think, tool_call, answer."""

    system: str = text("", "offers the tool and says what form a turn has", empty="the domain's own, if any")
    direct_system: str = text("", "the same for a single turn, without a tool", empty="the domain's own, if any")
    user: str = text("", "stands beside the target's picture", empty="the domain's own, else the picture alone")
    feedback: str = text("{feedback}", "what a turn's render and verdict become", empty="no text")
    last_turn: str = text("", "appended to the feedback before the last turn", empty="nothing is appended")


@dataclass
class Queue:
    """The replay queue between rollouts and learner."""

    groups_per_step: int = num(12, "groups", "groups that one optimiser step consumes", ge=1, le=1_000_000)
    max_staleness: int = num(2, "versions", "oldest weights a batch may come from; 0 = synchronous", ge=0, le=100_000)
    by_difficulty: bool = flag(False, "prompts on which all members agreed come less often, down to an eighth")
    drop_zero_variance: bool = flag(True, "drop groups whose rewards are all equal, and run others instead")
    survivors: float = num(0.75, "share", "share of a group's trajectories; with fewer left, it is dropped", ge=0, le=1)
    max_empty_batches: int = num(
        20, "batches", "batches' worth of groups dropped in a row before the run ends and says so", ge=1, le=1_000_000
    )
    take_s: float = num(600.0, "s", "deadline of one batch", gt=0, le=7 * DAY)


@dataclass
class Learner:
    """The optimiser, and the Ray Train workers that run it."""

    workers: int = num(1, "workers", "workers of Ray Train, data parallel (FSDP where there are GPUs)", ge=1, le=4096)
    gpus: int = num(0, "GPUs", "GPUs of one worker; 0 runs on the CPU", ge=0, le=1)
    cpus: float = num(1.0, "CPUs", "what Ray sets aside for one worker", ge=0, le=1024)
    threads: int = num(1, "threads", "threads of one CPU worker", ge=1, le=1024)
    lr: float = num(1e-4, "1/step", "learning rate of AdamW", ge=0, le=1)
    schedule: str = one_of(
        "constant",
        "the learning rate after the warm-up",
        constant="Stays at `lr`.",
        linear="Falls along a line, to zero at run.steps.",
        cosine="Falls along half a cosine, to zero at run.steps.",
    )
    warmup_steps: int = num(2, "steps", "steps in which the rate rises to `lr`", ge=0, le=10_000_000)
    weight_decay: float = num(0.0, "", "weight decay of AdamW", ge=0, le=10)
    betas: tuple[float, float] = num((0.9, 0.95), "", "decay rates of AdamW's two averages", ge=0, le=0.999999)
    grad_clip: float = num(1.0, "", "largest norm of the whole gradient", gt=0, le=1e9)
    token_budget: int = num(4096, "tokens", "size of one packed micro-batch", ge=16, le=100_000_000)
    logprob_chunk: int = num(4096, "tokens", "sampled tokens whose logits exist at one time", ge=1, le=100_000_000)
    updates: int = num(1, "steps", "optimiser steps that one batch is cut into", ge=1, le=4096)
    ess_lr: bool = flag(False, "shorten a step by the root of the batch's effective sample size (VCPO)")
    gradient_checkpointing: bool = flag(False, "recompute activations: less memory, a third more time")
    lora_rank: int = num(0, "rank", "rank of the LoRA adapters; 0 trains all weights", ge=0, le=4096)
    lora_alpha: int = num(32, "", "scale of the adapter: alpha / rank", ge=1, le=65_536)
    max_skipped_steps: int = num(3, "steps", "non-finite gradients in a row before the run stops", ge=1, le=1_000_000)
    sync_s: float = num(60.0, "s", "deadline of one weight sync", gt=0, le=DAY)
    step_s: float = num(
        1800.0, "s", "deadline of one step once its batch is there, of the first with its set-up", gt=0, le=7 * DAY
    )


@dataclass
class Grpo:
    """How rewards become a loss."""

    advantage: str = one_of(
        "std",
        "what a reward is compared with",
        std="Distance from the group's mean, in standard deviations (the paper's Eq. 4).",
        mean="Distance from the group's mean (Dr. GRPO).",
        loo="Distance from the mean of the group's others: leave one out (RLOO).",
    )
    parts: str = one_of(
        "sum",
        "how the parts of a reward become one advantage",
        sum="The weighted total is normalised in its group.",
        apart="Each part first, similarity among members that ran; then they are weighted (GDPO).",
    )
    mask_overlong: bool = flag(False, "an answer cut off by its limit teaches nothing instead of being punished")
    surrogate: str = one_of(
        "clip",
        "the objective at one token",
        clip="The pessimistic minimum of the ratio and the clipped ratio (PPO, GRPO).",
        dppo="The ratio; no gradient where the probability moved too far the way it is pushed (DPPO).",
        cispo="The clipped ratio is a constant in front of the log-probability (MiniMax-M1).",
        sapo="A smooth gate instead of the clip (SAPO).",
        vespo="The whole trajectory's ratio through a gate (VESPO).",
    )
    eps_low: float = num(0.2, "", "a ratio is clipped below 1 - this", ge=0, le=1)
    eps_high: float = num(0.2, "", "a ratio is clipped above 1 + this", ge=0, le=1e6)
    eps_probability: float = num(0.2, "", "a change of probability beyond which `dppo` masks a token", ge=0, le=1)
    ratio: str = one_of(
        "token",
        "whose probability the ratio is taken of",
        token="Each token's own.",
        sequence="The mean over the trajectory's tokens (GSPO).",
    )
    proximal: str = one_of(
        "behaviour",
        "what the ratio is taken against",
        behaviour="The policy that sampled (GRPO).",
        learner="The learner before this batch; `importance` corrects for the sampler (decoupled PPO).",
    )
    importance: str = one_of(
        "truncate",
        "weight of learner against sampler, with proximal=learner",
        truncate="Cut off at `importance_cap`.",
        mask="A token outside 1/cap to cap does not count.",
        sequence="That of the whole trajectory, cut off at `importance_cap` (VCPO takes 8).",
        off="No weight.",
    )
    importance_cap: float = num(2.0, "", "largest such weight", ge=1, le=1e6)
    aggregate: str = one_of(
        "token",
        "how tokens add up to one loss",
        sequence="Each trajectory counts alike (GRPO).",
        token="Each token of the batch counts alike (DAPO).",
        constant="Each token counts 1 / constant_length of a trajectory (Dr. GRPO).",
    )
    constant_length: int = num(
        1024, "tokens", "length a trajectory counts as, with aggregate=constant", ge=1, le=10_000_000
    )
    kl_beta: float = num(0.0, "", "weight of k3 against the first weights; 0 loads no reference model", ge=0, le=1e3)


@dataclass
class RewardWeights:
    """How a trajectory's reward is made of its parts."""

    preset: str = one_of(
        "paper",
        "what R_vision is made of, and which reading of the paper's weights",
        paper="Weights as its text argues for them: those below.",
        paper_literal="Weights as printed, which reward less similarity; for the record only.",
        strict="Similarity counts where every render beats the one before, else the first's (ReLook, 2510.11498).",
        textual_visual="Half of similarity is that of the text alone (after MSRL, arXiv 2508.13587).",
    )
    function: str = text(
        "", "a function that gives the total reward: FILE.py:NAME", empty="the parts below", form=FUNCTION,
        form_is="a file and a function in it, like path/to/file.py:reward",
    )  # fmt: skip
    deadline_s: float = num(30.0, "s", "deadline of one call of `function`", gt=0, le=DAY)
    vision: float = num(0.8, "", "weight of the final render's similarity", ge=0, le=1000)
    format: float = num(0.2, "", "weight of the form of the turns", ge=0, le=1000)
    tool: float = num(1.0, "", "weight of calls to the tool", ge=0, le=1000)
    exchanged: bool = flag(False, "a control: the judge compares with another picture than the policy sees")
    tool_gate: bool = flag(
        True, "calls pay what the answer gained over a first call that the group shares, else for being made"
    )
    full_tool_above: float = num(
        0.95, "similarity", "a similarity above this earns the tool's reward without a call", ge=0, le=1
    )


@dataclass
class Sft:
    """Supervised learning on given answers (python -m training.sft)."""

    batch: int = num(80, "conversations", "conversations of one optimiser step", ge=1, le=1_000_000)


@dataclass
class Evaluate:
    """Evaluation on held-out images."""

    count: int = num(200, "images", "images of each set; of a folder at most its last tenth", ge=1, le=1_000_000)
    before_after: bool = flag(True, "evaluate before the first and after the last step")


def _where(part: str) -> str:
    """The nodes that a part may run on, by their labels."""
    return text(
        "", f"labels of the nodes that {part} may run on", empty="any node", form=places.FORM, form_is=places.FORM_IS
    )


@dataclass
class Place:
    """Which part of a run goes where: `ray.io/market-type!=spot` keeps one off preemptible nodes."""

    engines: str = _where("policy engines")
    rollouts: str = _where("rollout actors")
    queue: str = _where("the queue and its ledger")
    learner: str = _where("learner workers")
    renderers: str = _where("renderers")
    judge: str = _where("the judge and its engine")
    spread: bool = flag(False, "engines on as many nodes as there are, not packed on few")


@dataclass
class Cluster:
    """The Ray cluster that everything runs on."""

    address: str = text("", "a running cluster", empty="join the one of RAY_ADDRESS, or start one here")
    logical_cpus: int = num(8, "CPUs", "CPUs of a cluster started here; may exceed the cores", ge=1, le=65_536)
    room_s: float = num(
        600.0, "s", "how long a start waits for room, for its turn and for an autoscaler; 0 refuses", ge=0, le=7 * DAY
    )
    place: Place = field(default_factory=Place)


@dataclass
class Config:
    """All sections."""

    run: Run = field(default_factory=Run)
    data: Data = field(default_factory=Data)
    policy: PolicyModel = field(default_factory=PolicyModel)
    engine: Engine = field(default_factory=Engine)
    sampling: Sampling = field(default_factory=Sampling)
    rollout: Rollout = field(default_factory=Rollout)
    feedback: Feedback = field(default_factory=Feedback)
    prompts: Prompts = field(default_factory=Prompts)
    queue: Queue = field(default_factory=Queue)
    learner: Learner = field(default_factory=Learner)
    grpo: Grpo = field(default_factory=Grpo)
    reward: RewardWeights = field(default_factory=RewardWeights)
    render: Render = field(default_factory=Render)
    judge: Judge = field(default_factory=Judge)
    sft: Sft = field(default_factory=Sft)
    evaluate: Evaluate = field(default_factory=Evaluate)
    inference: Inference = field(default_factory=Inference)
    http: ServeHttp = field(default_factory=ServeHttp)
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def renderers(self) -> Render | Workers:
        """The replicas that draw this run's domain."""
        return self.render.web if find(self.data.domain).drawn == "browser" else self.render
