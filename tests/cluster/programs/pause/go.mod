module rota.example/programs/pause

go 1.26.0
