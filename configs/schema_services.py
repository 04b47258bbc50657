"""Settings of what runs behind Ray Serve: renderers, judge, inference, and the HTTP server before them.

Guarantees: as in `configs.schema`, which gathers these sections; import them from there.
"""

from dataclasses import dataclass, field

from configs.fields import DAY, flag, num, one_of, one_of_or_function, some_of, text


@dataclass
class Sandbox:
    """Limits of one foreign program, and the layers of the jail that holds it."""

    cpu_s: float = num(10.0, "s", "processor time of one program, whole seconds", ge=1, le=3600)
    wall_s: float = num(20.0, "s", "time of one program; waiting for a processor does not count", gt=0, le=3600)
    memory_mb: int = num(
        1024, "MB", "memory that a program may add to the server it is forked from", ge=16, le=1_000_000
    )
    max_pixels: int = num(4_000_000, "px", "largest figure", ge=64, le=10**8)
    max_source_bytes: int = num(1_000_000, "bytes", "largest program or page", ge=1, le=10**9)
    allow_missing: list[str] = some_of(  # noqa: RUF009
        "layers that this machine may lack; foreign programs then run without them",
        namespaces="No network, no other processes, an empty file system (bubblewrap).",
        landlock="The kernel's rules of which files may be read or written.",
        seccomp="The list of allowed system calls.",
        limits="Processor time, memory, files and their sizes.",
    )


@dataclass
class Workers:
    """Replicas of the renderer of pages."""

    replicas: int = num(1, "replicas", "least replicas", ge=1, le=4096)
    max_replicas: int = num(
        1, "replicas", "most replicas, by load; up to `replicas` their number is fixed", ge=1, le=4096
    )
    cpus: float = num(1.0, "CPUs", "what Ray sets aside for one replica", ge=0, le=1024)
    concurrency: int = num(1, "renders", "renders at once in one replica", ge=1, le=4096)


@dataclass
class Render:
    """The renderers: programs to pictures."""

    replicas: int = num(1, "replicas", "renderers of charts, at least", ge=1, le=4096)
    max_replicas: int = num(
        1, "replicas", "most replicas, by load; up to `replicas` their number is fixed", ge=1, le=4096
    )
    cpus: float = num(1.0, "CPUs", "what Ray sets aside for one replica", ge=0, le=1024)
    concurrency: int = num(1, "renders", "renders at once in one replica, each in a process of its own", ge=1, le=4096)
    web: Workers = field(default_factory=Workers)
    max_queued: int = num(
        1024, "requests", "requests that may wait for one replica; more are refused and come again", ge=1, le=10_000_000
    )
    cache_mb: int = num(256, "MB", "memory of finished pictures that a replica remembers", ge=0, le=10_000_000)
    deadline_s: float = num(120.0, "s", "deadline of one call, queueing included", gt=0, le=DAY)
    javascript: bool = flag(False, "let pages run their scripts, each page in a context of its own")
    browser: str = text("", "path of a Chromium", empty="look for one")
    viewport: tuple[int, int] = num((1280, 720), "CSS px", "width and height of a page's window", ge=16, le=16_384)
    max_height: int = num(8192, "CSS px", "a page's picture ends here", ge=16, le=65_536)
    machine_fonts: bool = flag(False, "pages use this machine's fonts, so that their bytes depend on it")
    full_width: bool = flag(False, "what a page hides beyond its sides is pictured too, as Design2Code does")
    browser_pages: int = num(
        200,
        "pages",
        "a browser is replaced after so many pages: it grows with each, and starts in 0.1 s",
        ge=1,
        le=1_000_000,
    )
    browser_mb: int = num(2048, "MB", "or when its processes hold so much memory", ge=64, le=1_000_000)
    sandbox: Sandbox = field(default_factory=Sandbox)


@dataclass
class Judge:
    """The judge: two pictures to a score and feedback. `model` and what follows it are of backend=mllm only."""

    backend: str = one_of_or_function(
        "perceptual",
        "what compares the pictures",
        perceptual="Image metrics and text recognition; runs on the CPU, the same verdict every time.",
        mllm="A vision-language model, at `url` or as our own deployment of `model`.",
        attributes="The perceptual judge's text, colours and outlines alone, each counting alike.",
        embedding="Cosine of a vision model's embeddings: DINO, CLIP or SigLIP from the folder `embedder`.",
        blend="Several of these by weight, as `blend` says.",
    )
    blend: str = text("", "parts and weights, like perceptual=0.7, embedding=0.3, own.py:judge=1", empty="no blend")
    embedder: str = text("", "folder of the vision model of backend=embedding", empty="none")
    mode: str = one_of(
        "absolute",
        "what the members of a group are rewarded by",
        absolute="Each render's similarity.",
        pairwise="The share of the group's others that a render beats, by comparisons of two at a time.",
    )
    replicas: int = num(1, "replicas", "fronts of the perceptual judge, or engines of the other", ge=1, le=4096)
    max_replicas: int = num(
        1, "replicas", "most replicas, by load; up to `replicas` their number is fixed", ge=1, le=4096
    )
    cpus: float = num(0.5, "CPUs", "what Ray sets aside for one replica", ge=0, le=1024)
    concurrency: int = num(
        32, "questions", "questions under way at one replica or endpoint, and sequences of an engine", ge=1, le=65_536
    )
    max_queued: int = num(
        1024, "questions", "questions that may wait; more are refused and come again", ge=1, le=10_000_000
    )
    deadline_s: float = num(120.0, "s", "deadline of one verdict, queueing included", gt=0, le=DAY)
    cache_entries: int = num(65_536, "verdicts", "verdicts that a front remembers", ge=0, le=100_000_000)
    model: str = text("", "a hub name or a local folder; its name at `url`", empty="the first that `url` lists")
    url: str = text(
        "",
        "an OpenAI-compatible endpoint",
        empty="run `model` as our own deployment",
        form=r"https?://[^\s/]+\S*",
        form_is="an address like http://HOST:PORT/v1",
    )
    gpus: int = num(0, "GPUs", "GPUs of one replica of our own deployment = tensor parallel size", ge=0, le=64)
    max_model_len: int = num(
        8192, "tokens", "context of the judge: two pictures, the instructions and the answer", ge=16, le=10_000_000
    )
    max_pixels: int = num(1_003_520, "px", "larger pictures are scaled down to this area", ge=784, le=10**8)
    max_differences: int = num(8, "differences", "most differences that an answer lists", ge=1, le=1000)
    max_chars: int = num(900, "characters", "longest feedback", ge=1, le=1_000_000)
    retries: int = num(3, "attempts", "further attempts after overload or a lost connection", ge=0, le=1000)
    samples: int = num(1, "answers", "answers whose scores are averaged; more than one are sampled", ge=1, le=64)
    both_orders: bool = flag(False, "ask with the target first and with it second, against a bias of position")
    requests_per_minute: int = num(0, "requests", "most requests to `url` in a minute; 0 = no limit", ge=0, le=10**7)
    tokens_per_minute: int = num(0, "tokens", "most tokens of `url` in a minute; 0 = no limit", ge=0, le=10**10)
    instructions: str = text("", "what the vision-language judge is asked", empty="what the domain's file says")

    @property
    def asks_model(self) -> bool:
        """Whether a vision-language model judges, alone or in a blend."""
        return self.backend == "mllm" or (self.backend == "blend" and "mllm=" in self.blend)


@dataclass
class Inference:
    """The served policy."""

    replicas: int = num(1, "engines", "engines, each as `engine` says", ge=1, le=4096)
    max_replicas: int = num(
        1, "engines", "most replicas, by load; up to `replicas` their number is fixed", ge=1, le=4096
    )
    target: int = num(16, "requests", "requests under way that one engine should have", ge=1, le=65_536)
    lora: str = text("", "folder of a peft adapter, merged into the served model", empty="no adapter")
    watch: bool = flag(False, "load the run's newest checkpoint whenever there is one")
    reasoning_content: bool = flag(False, "chat answers carry their think part apart, as `reasoning_content`")


@dataclass
class ServeHttp:
    """The HTTP server: where it listens, and what one client may ask of it."""

    host: str = text("127.0.0.1", "address to listen on", form=r"[A-Za-z0-9.:_-]+", form_is="a host name or address")
    port: int = num(8000, "", "port of the Serve proxy", ge=1, le=65_535)
    token: str = text("", "bearer token", empty="ask for none")
    max_body_mb: int = num(20, "MB", "largest body of a request", ge=1, le=10_000)
    body_s: float = num(30.0, "s", "deadline of a body's arrival", gt=0, le=3600)
    rate_per_minute: int = num(
        0,
        "requests",
        "requests of one address in a minute, on routes that do work; 0 = any number",
        ge=0,
        le=10_000_000,
    )
    max_in_flight: int = num(
        64, "requests", "requests under way on one route that does work; more get 503", ge=1, le=1_000_000
    )
    origins: str = text(
        "",
        "sites whose pages may use the server from a browser, exact, with commas between: http://host:3000",
        empty="none",
        form=r"https?://[^/\s,*]+(,https?://[^/\s,*]+)*",
        form_is="origins like http://host:3000, with commas between",
    )
