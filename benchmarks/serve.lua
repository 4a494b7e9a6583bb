-- The photograph that wrk's clients send to fcn serve, again and again, for its mask:
--   wrk -t1 -c64 -d60s -s benchmarks/serve.lua http://127.0.0.1:8000/v1/predict
wrk.method = "POST"
wrk.body = assert(io.open("examples/wide_road_overcast.jpg", "rb")):read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
wrk.headers["Accept"] = "image/png"
