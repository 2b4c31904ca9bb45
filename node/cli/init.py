"""`init`: a new node's home, and the request by which its directory's publisher admits it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from node.cli.output import AsJson, write, write_json
from node.clock import SystemClock, SystemEntropy
from node.home import CATALOGUE_FOLDER, DIRECTORIES_FOLDER, NewNode, create_home
from protocol.envelope import Environment  # noqa: TC001 - typer reads it
from signing.suites import Suite


def add_to(program: typer.Typer) -> None:
    """Add the command."""
    program.command()(init)


def init(
    home: Annotated[Path, typer.Argument(help="新目录 · the new node's folder")],
    *,
    node: Annotated[str, typer.Option(help="节点编号：六位区划代码 · node id, a region code")],
    name: Annotated[str, typer.Option(help="节点名称 · what people call it")],
    operator: Annotated[
        str, typer.Option(help="运行机关的统一社会信用代码 · USCC of its operator")
    ],
    url: Annotated[
        str | None,
        typer.Option(
            help="对端访问的地址；只能向外呼叫的节点不给"
            " · where peers reach it: https://host:port; left out, it calls them"
        ),
    ] = None,
    authority: Annotated[
        list[str] | None,
        typer.Option(
            help="所服务机关的统一社会信用代码，可重复 · USCC of an authority it speaks for"
        ),
    ] = None,
    serves: Annotated[
        list[str] | None, typer.Option(help="所服务的区划，可重复 · a region it serves")
    ] = None,
    forwards_for: Annotated[
        list[str] | None,
        typer.Option(help="枢纽代转的区划前缀，可重复 · of a hub: a region prefix"),
    ] = None,
    environment: Annotated[Environment, typer.Option(help="试运行或正式 · never mixed")] = "trial",
    suite: Annotated[Suite, typer.Option(help="算法套件 · suite")] = Suite.SM2_SM3,
    port: Annotated[int, typer.Option(min=1, max=65535, help="对端监听端口 · for peers")] = 8443,
    local_port: Annotated[
        int, typer.Option(min=1, max=65535, help="本地接口端口 · for the own unit")
    ] = 8080,
    as_json: AsJson = False,
) -> None:
    """建立新节点 · make a node's home: keys, certificate, configuration, request."""
    new = NewNode(
        node=node,
        name=name,
        environment=environment,
        operator=operator,
        authorities=tuple(dict.fromkeys((operator, *(authority or ())))),
        serves=tuple(serves or (node,)),
        url=url,
        role="hub" if forwards_for else "node",
        forwards_for=tuple(forwards_for or ()),
        suite=suite,
        peers_port=port,
        local_port=local_port,
    )
    made = create_home(home, new, SystemEntropy(), SystemClock().now_ms())
    for folder in (DIRECTORIES_FOLDER, CATALOGUE_FOLDER):
        (home / folder).mkdir(exist_ok=True)
    if as_json:
        write_json({"config": str(made.config), "request": str(made.request)})
        return
    write(f"配置 configuration  {made.config}")
    write(f"请求 request        {made.request}")
    write("下一步 next: 将请求交给节点目录的发布者 hand the request to the directory's publisher,")
    write("  并安装其文件 and install what comes back: run_node.py directory install …")
