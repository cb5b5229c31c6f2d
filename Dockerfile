# syntax=docker/dockerfile:1
# The operator as one static binary in an empty image.
#
#   docker build --tag registry.example.com/rota:0.1.0 .
#   docker push registry.example.com/rota:0.1.0
#
# Other architectures: docker buildx build --platform linux/amd64,linux/arm64 …

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Naming the target keeps the flags for the static binary away from build scripts, which cannot be linked so.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin rota --target "$target" \
    && cp "target/$target/release/rota" /rota

# Nothing else is needed: time zones are in the binary, and the cluster's certificate comes with the service account.
FROM scratch
COPY --from=build /rota /rota
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/rota"]
CMD ["operator"]
