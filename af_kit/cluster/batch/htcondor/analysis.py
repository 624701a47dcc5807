"""The telling lines of ``condor_q -better-analyze``, which fills a page for each job."""

from __future__ import annotations

import re

_STEP = re.compile(r"^\[\d+\]\s+(\d+)\s+(.+)$", re.MULTILINE)
# Such as "[1] && [3]": what it stands for was told above it.
_COMPOUND = re.compile(r"^[\[\]\d\s&|()!]+$")
_MACHINES = re.compile(r"Of (\d+) machines")
_COUNT = re.compile(r"^\s+(\d+) (are rejected|reject your job|match|are able).*$", re.MULTILINE)
_DEFINED = re.compile(r"^    (Request\w+) = (.+)$", re.MULTILINE)
_LAST = re.compile(r"^(?:Reason for last match failure|Hold reason): (.+?)\s*$", re.MULTILINE)
_NOT_YET = re.compile(r"^Job has not yet been considered by the matchmaker\.", re.MULTILINE)
_OTHER_CONTAINERS = "container_image= cannot run there: does the pool want another af_kit.cluster.htcondor.container?"
_ADVICE = {
    "RequestMemory": "ask for less memory=",
    "RequestCpus": "ask for less cores=",
    "RequestDisk": "ask for less disk=",
    "HasContainer": _OTHER_CONTAINERS,
    "HasDocker": _OTHER_CONTAINERS,
    "HasSingularity": _OTHER_CONTAINERS,
    "FileSystemDomain": "no machine shares this one's files: shared_filesystem=False",
    "HasFileTransfer": "no machine takes files along: shared_filesystem=True",
}


def digest(text: str) -> str:
    """What the analysis of a job that waits comes down to.

    Parameters
    ----------
    text : str
        All that ``condor_q -better-analyze JOB`` printed.

    Returns
    -------
    str
        A sentence or two; an empty text if nothing in it tells why the job waits.
    """
    parts = []
    machines = _MACHINES.search(text)
    counts = [line.group(0).strip() for line in _COUNT.finditer(text) if int(line[1])]
    if machines:
        parts.append(f"of {machines[1]} machines, {', '.join(counts) or 'none is free for it'}")
    unmet = [
        condition.strip()
        for matched, condition in _STEP.findall(text)
        if matched == "0" and not _COMPOUND.match(condition)
    ]
    if unmet:
        asked = dict(_DEFINED.findall(text))
        values = [f"{name} = {value}" for name, value in asked.items() if any(name in line for line in unmet)]
        asked_for = f" ({', '.join(values)})" if values else ""
        parts.append(f"no machine has {' or '.join(unmet)}{asked_for}")
    if last := _LAST.search(text):
        parts.append(last[1])
    elif _NOT_YET.search(text):
        parts.append("the matchmaker has not looked at it yet")
    if not parts:
        return ""
    told = [words for name, words in _ADVICE.items() if any(name in line for line in unmet)]
    if unmet and not told:
        told = ["see requirements= and submit="]
    advice = f" What to do: {'; '.join(dict.fromkeys(told))}." if told else ""
    return f"condor_q -better-analyze says: {'; '.join(parts)}.{advice}"
