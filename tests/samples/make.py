"""Create the sample files next to this script with ROOT itself, so that the readers are tested on ROOT's own files.

The script needs the ROOT wheel, which is not a dependency of the kit (about 1 GB):

    python -m venv root-venv && root-venv/bin/pip install --pre ROOT==0.1a12
    root-venv/bin/python tests/samples/make.py [NAME ...]

The files are committed; run this only to add or change one, and name it. Every file has a few kB. Values are functions
of the entry number, including special numbers: NaNs with a payload, infinities, -0, denormals, the limits of each
integer type.

    plain_{zlib,lzma,lz4,zstd,none}   every plain type, counters, fixed arrays; three clusters with many baskets
    unaligned                         the baskets of different branches are not aligned
    unflushed                         the same, with each branch's last basket in the record of the tree
    embedded                          so few entries that all baskets are in the record of the tree
    counters                          a counter of each integer type, and unusual counters
    offsetmap                         baskets without entry offsets (an I/O feature of TTree)
    stl                               std::vector, std::string, nested; a vector of objects and a TClonesArray, split
    objects                           split objects whose members have the same names
    streamed                          vectors of objects with a custom streamer, some of them empty
    packed                            Double32_t and Float16_t: numbers, arrays, lists, and lists of arrays
    merged                            three of these trees merged without decompression (as hadd does)
    late                              a branch that was added after half of the entries
    folders                           a tree in a folder, two cycles of one tree, an ntuple, a histogram
    unclosed                          a file whose writer was killed
    rntuple                           an RNTuple with clusters of 70 entries: numbers, lists, records, strings, optional
    ntuple_pages                      an RNTuple with pages of 64 bytes, and two cluster groups
    ntuple_plain                      the same without compression and checksums
    ntuple_late                       an RNTuple with fields that were added after 100 entries, in the second cluster
    ntuple_floats                     floats of fewer bits: half, truncated, quantized, Double32_t
    ntuple_forms                      columns with several representations, each used in some clusters
    ntuple_variant                    one cluster with variants, which only uproot reads
    ntuple_import                     counters and arrays of a TTree, imported: one collection shown as many fields
    twin_1, twin_2                    two RNTuples of the same length, whose headers cannot be distinguished
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ROOT

HERE = Path(__file__).resolve().parent
ZLIB, LZMA, LZ4, ZSTD, NONE = 101, 207, 404, 505, 0

ROOT.gInterpreter.Declare(r"""
#include <bitset>
#include <cstring>
#include <limits>
#include <optional>
#include <unistd.h>
#include <sys/wait.h>
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleImporter.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
#include <ROOT/RNTupleWriteOptions.hxx>

// Every seventh entry is a number that a faulty reader may change, the others are ordinary.
template <class T> T number(long i) {
    if constexpr (std::is_same_v<T, bool>) return i % 3 == 0;
    else if constexpr (std::is_floating_point_v<T>) {
        using L = std::numeric_limits<T>;
        if (i % 7 == 3) {
            switch ((i / 7) % 6) {
                case 0: return -T(0);
                case 1: return L::infinity();
                case 2: return -L::infinity();
                case 3: return L::denorm_min();
                case 4: return L::max();
                default: {   // a NaN with a payload in its lower bits
                    T x; unsigned small = 0x7fc00000u + i; unsigned long large = 0x7ff8000000000000ul + i;
                    memcpy(&x, sizeof(T) == 4 ? (void *)&small : (void *)&large, sizeof(T)); return x;
                }
            }
        }
        return T(i) / 8 - 20;
    }
    else {
        if (i % 7 == 3) return (i / 7) % 2 ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min();
        return T(i * 31);
    }
}

int count(long i) { return i % 5 == 4 ? 0 : (i * 7) % 4; }  // 0 to 3, with runs of zeros

TTree *tree(TFile &file, long autoflush) {
    auto t = new TTree("Events", "sample", 99, &file);
    t->SetAutoFlush(autoflush);
    t->SetAutoSave(0);
    return t;
}

void finish(TFile &file) { file.Write(); file.Close(); }

void plain(const char *path, int compression, long entries, long autoflush, bool unaligned, bool embedded) {
    TFile file(path, "RECREATE", "", compression);
    auto t = tree(file, autoflush);
    bool b; char i8; unsigned char u8; short i16; unsigned short u16; int i32; unsigned u32;
    Long64_t i64; ULong64_t u64; float f32; double f64; float fixed[3]; int grid[2][2];
    struct { int a; float b; double c; } pair;
    int nMuon; unsigned nJet; float mu_pt[8]; double mu_x[8]; bool mu_ok[8]; short mu_q[8]; unsigned char mu_id[8];
    Long64_t jet_id[8]; float jet_pt[8];
    t->Branch("b", &b, "b/O"); t->Branch("i8", &i8, "i8/B"); t->Branch("u8", &u8, "u8/b");
    t->Branch("i16", &i16, "i16/S"); t->Branch("u16", &u16, "u16/s"); t->Branch("i32", &i32, "i32/I");
    t->Branch("u32", &u32, "u32/i"); t->Branch("i64", &i64, "i64/L"); t->Branch("u64", &u64, "u64/l");
    t->Branch("f32", &f32, "f32/F"); t->Branch("f64", &f64, "f64/D");
    t->Branch("fixed", fixed, "fixed[3]/F"); t->Branch("grid", grid, "grid[2][2]/I");
    t->Branch("pair", &pair, "a/I:b/F:c/D");
    t->Branch("nMuon", &nMuon, "nMuon/I");
    t->Branch("Muon_pt", mu_pt, "Muon_pt[nMuon]/F"); t->Branch("Muon_x", mu_x, "Muon_x[nMuon]/D");
    t->Branch("Muon_ok", mu_ok, "Muon_ok[nMuon]/O"); t->Branch("Muon_charge", mu_q, "Muon_charge[nMuon]/S");
    t->Branch("Muon_id", mu_id, "Muon_id[nMuon]/b");
    t->Branch("nJet", &nJet, "nJet/i");
    t->Branch("Jet_id", jet_id, "Jet_id[nJet]/L"); t->Branch("Jet_pt", jet_pt, "Jet_pt[nJet]/F");
    int k = 0;  // different basket sizes if the branches must not be aligned
    for (auto branch : *t->GetListOfBranches())
        ((TBranch *)branch)->SetBasketSize(unaligned ? 160 + 97 * ++k % 400 : 512);
    for (long i = 0; i < entries; i++) {
        b = number<bool>(i); i8 = number<char>(i); u8 = number<unsigned char>(i); i16 = number<short>(i);
        u16 = number<unsigned short>(i); i32 = number<int>(i); u32 = number<unsigned>(i); i64 = number<Long64_t>(i);
        u64 = number<ULong64_t>(i); f32 = number<float>(i); f64 = number<double>(i);
        for (int k = 0; k < 3; k++) fixed[k] = number<float>(i + k);
        for (int k = 0; k < 4; k++) grid[k / 2][k % 2] = number<int>(i + k);
        pair.a = i; pair.b = number<float>(i); pair.c = number<double>(i);
        nMuon = count(i); nJet = count(i + 2);
        for (int k = 0; k < nMuon; k++) {
            mu_pt[k] = number<float>(3 * i + k); mu_x[k] = number<double>(3 * i + k); mu_ok[k] = (i + k) % 2;
            mu_q[k] = number<short>(i + k); mu_id[k] = number<unsigned char>(i + k);
        }
        for (unsigned k = 0; k < nJet; k++) { jet_id[k] = number<Long64_t>(i + k); jet_pt[k] = number<float>(i - k); }
        t->Fill();
    }
    if (embedded) file.WriteTObject(t);  // TTree::Write would flush the last baskets first
    else t->Write();
    file.Close();
}

template <class T> void counter(TTree *t, const char *letter, std::string name) {
    static T n; static float x[8];
    t->Branch(name.c_str(), &n, (name + "/" + letter).c_str());
    auto branch = t->Branch((name + "s").c_str(), x, (name + "s[" + name + "]/F").c_str());
    // filled separately: every branch has its own buffers
    for (long i = 0; i < 150; i++) {
        n = T(count(i));
        for (int k = 0; k < count(i); k++) x[k] = number<float>(i + k);
        t->GetBranch(name.c_str())->Fill(); branch->Fill();
    }
}

void counters(const char *path) {
    TFile file(path, "RECREATE", "", 101);
    auto t = tree(file, 0);
    counter<char>(t, "B", "few_i8"); counter<unsigned char>(t, "b", "few_u8"); counter<short>(t, "S", "few_i16");
    counter<unsigned short>(t, "s", "few_u16"); counter<int>(t, "I", "few_i32"); counter<unsigned>(t, "i", "few_u32");
    counter<Long64_t>(t, "L", "few_i64"); counter<ULong64_t>(t, "l", "few_u64");
    // the leaf that counts has another name than its branch, and another branch has that name
    int n, other; float x[8]; struct { int run; int m; } head; float y[8]; float xy[8][2];
    auto size = t->Branch("size", &n, "m/I");
    auto values = t->Branch("values", x, "values[m]/F");
    auto decoy = t->Branch("m", &other, "other/I");
    // the counter is one leaf of several in its branch
    auto heads = t->Branch("head", &head, "run/I:hits/I");
    auto hits = t->Branch("hit_x", y, "hit_x[hits]/F");
    auto pairs = t->Branch("pairs", xy, "pairs[few_i32][2]/F");
    for (long i = 0; i < 150; i++) {
        n = head.m = count(i); other = 2; head.run = 7;
        for (int k = 0; k < n; k++) { x[k] = y[k] = xy[k][0] = number<float>(i + k); xy[k][1] = k; }
        size->Fill(); values->Fill(); decoy->Fill(); heads->Fill(); hits->Fill();
    }
    // the counter is another leaf object, from whose buffer `pairs` reads its size
    for (long i = 0; i < 150; i++) {
        *(int *)t->GetLeaf("few_i32")->GetValuePointer() = count(i);
        for (int k = 0; k < count(i); k++) { xy[k][0] = number<float>(i + k); xy[k][1] = k; }
        pairs->Fill();
    }
    t->SetEntries(150);
    t->FlushBaskets();
    finish(file);
}

void offsetmap(const char *path) {
    TFile file(path, "RECREATE", "", 505);
    auto t = tree(file, 60);
    ROOT::TIOFeatures features; features.Set("kGenerateOffsetMap"); t->SetIOFeatures(features);
    int n; float x[8]; std::vector<float> v;
    t->Branch("nHit", &n, "nHit/I"); t->Branch("Hit_x", x, "Hit_x[nHit]/F"); t->Branch("v", &v);
    for (long i = 0; i < 200; i++) {
        n = count(i); v.clear();
        for (int k = 0; k < n; k++) { x[k] = number<float>(i + k); v.push_back(x[k]); }
        t->Fill();
    }
    finish(file);
}

void stl(const char *path) {
    TFile file(path, "RECREATE", "", 101);
    auto t = tree(file, 64);
    std::vector<float> vf; std::vector<double> vd; std::vector<int> vi; std::vector<bool> vb; std::vector<short> vh;
    std::vector<std::string> vs; std::string s; std::vector<std::vector<float>> vv; std::map<int, double> m;
    std::vector<ROOT::Math::PtEtaPhiMVector> lv; TClonesArray tracks("TVector2"); TVector2 point; TLorentzVector p4;
    auto clones = &tracks; char text[8]; double d32[3]; std::array<int, 2> arr{};
    t->Branch("vf", &vf); t->Branch("vd", &vd); t->Branch("vi", &vi); t->Branch("vb", &vb); t->Branch("vh", &vh);
    t->Branch("vs", &vs); t->Branch("s", &s); t->Branch("vv", &vv); t->Branch("m", &m);
    t->Branch("lv", &lv, 32000, 99); t->Branch("whole", &lv, 32000, 0);
    t->Branch("tracks", &clones, 32000, 99); t->Branch("point.", &point); t->Branch("p4", &p4);
    t->Branch("text", text, "text/C"); t->Branch("arr", &arr);
    t->Branch("d32", d32, "d32/d"); t->Branch("packed", d32 + 1, "packed/d[-10,10,12]");
    float f16; t->Branch("f16", &f16, "f16/f[0,0,10]");
    for (long i = 0; i < 150; i++) {
        vf.clear(); vd.clear(); vi.clear(); vb.clear(); vh.clear(); vs.clear(); vv.clear(); m.clear(); lv.clear();
        tracks.Clear();
        for (int k = 0; k < count(i); k++) {
            vf.push_back(number<float>(i + k)); vd.push_back(number<double>(i + k)); vi.push_back(number<int>(i + k));
            vb.push_back((i + k) % 2); vh.push_back(number<short>(i + k)); m[k] = i;
            vs.push_back(std::string(k, 'x') + std::to_string(i));
            vv.push_back(std::vector<float>(count(i + k), number<float>(i)));
            lv.emplace_back(i + k, k, 0.1 * k, 0.1); new (tracks[k]) TVector2(i, k);
        }
        s = std::string(i % 4 ? i % 300 : 0, 'a'); snprintf(text, 8, "%ld", i);
        point.Set(i, 0.5 * i); p4.SetPtEtaPhiM(i + 1, 0.1, 0.2, 0.3); arr = {int(i), int(2 * i)};
        d32[0] = i / 3.; d32[1] = (i % 20) - 10; f16 = i / 7.;
        t->Fill();
    }
    finish(file);
}

void objects(const char *path) {
    TFile file(path, "RECREATE", "", 101);
    auto t = tree(file, 30);
    ROOT::Math::PtEtaPhiMVector one, two;
    t->Branch("one", &one, 32000, 99); t->Branch("two", &two, 32000, 99); t->Branch("three.", &two, 32000, 99);
    for (int i = 0; i < 50; i++) { one.SetCoordinates(i, 1, 2, 3); two.SetCoordinates(100 + i, 1, 2, 3); t->Fill(); }
    finish(file);
}

void late(const char *path) {
    TFile file(path, "RECREATE", "", 101);
    auto t = tree(file, 50);
    int i, j; t->Branch("i", &i, "i/I");
    for (i = 0; i < 100; i++) t->Fill();
    t->Branch("late", &j, "late/I");
    for (i = 100; i < 160; i++) { j = i; t->Fill(); }
    finish(file);
}

void folders(const char *path) {
    TFile file(path, "RECREATE", "", 101);
    TH1D histogram("histogram", "", 3, 0, 1); histogram.Write();
    file.mkdir("ntuples")->cd();
    int i; TTree inner("Events", ""); inner.Branch("i", &i); for (i = 0; i < 11; i++) inner.Fill(); inner.Write();
    TNtuple small("small", "", "x:y"); small.Fill(1, 2); small.Write();
    file.cd();
    TTree t("tree", ""); t.Branch("i", &i);
    for (i = 0; i < 5; i++) t.Fill();
    t.Write();
    for (i = 5; i < 8; i++) t.Fill();
    t.Write();  // a second cycle in addition to the first
    file.Close();
}

void unclosed(const char *path) {
    if (fork()) { int status; wait(&status); return; }
    auto file = new TFile(path, "RECREATE", "", 101);
    auto t = tree(*file, 50);
    int i; t->Branch("i", &i, "i/I");
    for (i = 0; i < 160; i++) t->Fill();
    _exit(0);
}

void rntuple(const char *path) {
    auto model = ROOT::RNTupleModel::Create();
    auto b = model->MakeField<bool>("b"); auto i8 = model->MakeField<std::int8_t>("i8");
    auto u16 = model->MakeField<std::uint16_t>("u16"); auto i32 = model->MakeField<std::int32_t>("i32");
    auto u64 = model->MakeField<std::uint64_t>("u64"); auto f32 = model->MakeField<float>("f32");
    auto f64 = model->MakeField<double>("f64"); auto s = model->MakeField<std::string>("s");
    auto nMuon = model->MakeField<std::int32_t>("nMuon"); auto pt = model->MakeField<std::vector<float>>("Muon_pt");
    auto q = model->MakeField<std::vector<std::int32_t>>("Muon_charge");
    auto vb = model->MakeField<std::vector<bool>>("vb");
    auto vv = model->MakeField<std::vector<std::vector<double>>>("vv");
    auto vs = model->MakeField<std::vector<std::string>>("vs");
    auto arr = model->MakeField<std::array<float, 3>>("arr");
    auto pair = model->MakeField<std::pair<int, double>>("pair");
    auto pairs = model->MakeField<std::vector<std::pair<int, float>>>("pairs");
    auto opt = model->MakeField<std::optional<float>>("opt");
    auto tup = model->MakeField<std::tuple<int, float>>("tup");
    auto var = model->MakeField<std::variant<int, double>>("var");
    auto vo = model->MakeField<std::vector<std::optional<int>>>("vo");
    ROOT::RNTupleWriteOptions options; options.SetCompression(505);
    auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "Events", path, options);
    for (long i = 0; i < 200; i++) {
        *b = number<bool>(i); *i8 = number<char>(i); *u16 = number<unsigned short>(i); *i32 = number<int>(i);
        *u64 = number<ULong64_t>(i); *f32 = number<float>(i); *f64 = number<double>(i); *s = std::string(i % 9, 'b');
        *nMuon = count(i); pt->clear(); q->clear(); vb->clear(); vv->clear(); vs->clear(); pairs->clear(); vo->clear();
        for (int k = 0; k < count(i); k++) {
            pt->push_back(number<float>(i + k)); q->push_back(k % 2 ? 1 : -1); vb->push_back((i + k) % 2);
            vv->push_back(std::vector<double>(k, i)); vs->push_back(std::to_string(i)); pairs->emplace_back(k, i);
            vo->push_back(k % 2 ? std::optional<int>() : std::optional<int>(i));
        }
        *arr = {float(i), 1, 2}; *pair = {int(i), i / 2.}; *tup = {int(i), float(i)};
        *opt = i % 3 ? std::optional<float>(i) : std::optional<float>();
        if (i % 2) *var = int(i); else *var = i / 2.;
        writer->Fill();
        if (i % 70 == 69) writer->CommitCluster();
    }
}

std::unique_ptr<ROOT::RNTupleWriter> writer(
    std::unique_ptr<ROOT::RNTupleModel> model, const char *path, int compression = 505, bool checksums = true)
{
    ROOT::RNTupleWriteOptions options;
    options.SetCompression(compression);
    options.SetInitialUnzippedPageSize(64); options.SetMaxUnzippedPageSize(64);
    if (!checksums) { options.SetEnableSamePageMerging(false); options.SetEnablePageChecksums(false); }
    return ROOT::RNTupleWriter::Recreate(std::move(model), "Events", path, options);
}

void ntuple_pages(const char *path, int compression, bool checksums) {
    auto model = ROOT::RNTupleModel::Create();
    auto b = model->MakeField<bool>("b"); auto i8 = model->MakeField<std::int8_t>("i8");
    auto i16 = model->MakeField<std::int16_t>("i16"); auto u16 = model->MakeField<std::uint16_t>("u16");
    auto i32 = model->MakeField<std::int32_t>("i32"); auto u32 = model->MakeField<std::uint32_t>("u32");
    auto i64 = model->MakeField<std::int64_t>("i64"); auto u64 = model->MakeField<std::uint64_t>("u64");
    auto f32 = model->MakeField<float>("f32"); auto f64 = model->MakeField<double>("f64");
    auto s = model->MakeField<std::string>("s"); auto nMuon = model->MakeField<std::uint32_t>("nMuon");
    auto pt = model->MakeField<std::vector<float>>("Muon_pt");
    auto q = model->MakeField<std::vector<std::int32_t>>("Muon_charge");
    auto ok = model->MakeField<std::vector<bool>>("Muon_ok");
    auto vv = model->MakeField<std::vector<std::vector<std::int16_t>>>("vv");
    auto place = model->MakeField<std::array<float, 3>>("place");
    auto pairs = model->MakeField<std::vector<std::pair<std::int64_t, std::array<bool, 2>>>>("pairs");
    auto opt = model->MakeField<std::optional<std::vector<double>>>("opt");
    auto bits = model->MakeField<std::bitset<11>>("bits");
    auto w = writer(std::move(model), path, compression, checksums);
    for (long i = 0; i < 200; i++) {
        *b = number<bool>(i); *i8 = number<signed char>(i); *i16 = number<short>(i); *u16 = number<unsigned short>(i);
        *i32 = number<int>(i); *u32 = number<unsigned>(i); *i64 = number<long>(i); *u64 = number<unsigned long>(i);
        *f32 = number<float>(i); *f64 = number<double>(i); *s = std::string(i % 9, 'a' + i % 26);
        *nMuon = count(i); pt->clear(); q->clear(); ok->clear(); vv->clear(); pairs->clear();
        for (int k = 0; k < count(i); k++) {
            pt->push_back(number<float>(i + k)); q->push_back(k % 2 ? i : -i); ok->push_back((i + k) % 2);
            vv->push_back(std::vector<std::int16_t>(k, i));
            pairs->push_back({number<long>(i + k), {bool(i % 2), bool(k % 2)}});
        }
        *place = {float(i), number<float>(i), -1}; *bits = std::bitset<11>(i * 13);
        if (i % 3) *opt = std::vector<double>(count(i), number<double>(i)); else opt->reset();
        w->Fill();
        if (i % 70 == 69) w->CommitCluster(i == 139);
    }
}

void ntuple_late(const char *path) {
    auto model = ROOT::RNTupleModel::Create();
    auto i = model->MakeField<std::int32_t>("i");
    auto w = writer(std::move(model), path);
    std::shared_ptr<float> late; std::shared_ptr<std::array<short, 3>> three; std::shared_ptr<std::vector<int>> list;
    std::shared_ptr<std::string> text;
    for (int k = 0; k < 200; k++) {
        if (k == 100) {
            auto updater = w->CreateModelUpdater();
            updater->BeginUpdate();
            late = updater->MakeField<float>("late"); three = updater->MakeField<std::array<short, 3>>("three");
            list = updater->MakeField<std::vector<int>>("list"); text = updater->MakeField<std::string>("text");
            updater->CommitUpdate();
        }
        *i = k;
        if (late) {
            *late = k; *three = {short(k), short(-k), 7}; *list = std::vector<int>(count(k), k);
            *text = std::to_string(k);
        }
        w->Fill();
        if (k % 70 == 69) w->CommitCluster();
    }
}

void ntuple_floats(const char *path) {
    auto model = ROOT::RNTupleModel::Create();
    auto half = std::make_unique<ROOT::RField<float>>("half");
    half->SetHalfPrecision(); model->AddField(std::move(half));
    for (int bits : {10, 13, 16, 24, 31}) {
        auto field = std::make_unique<ROOT::RField<float>>("trunc" + std::to_string(bits));
        field->SetTruncated(bits); model->AddField(std::move(field));
    }
    for (int bits : {1, 7, 8, 20, 32}) {
        auto field = std::make_unique<ROOT::RField<float>>("quant" + std::to_string(bits));
        field->SetQuantized(bits, {-20, 5}); model->AddField(std::move(field));
    }
    auto d32 = std::make_unique<ROOT::RField<double>>("d32"); d32->SetDouble32(); model->AddField(std::move(d32));
    auto w = writer(std::move(model), path);
    auto &entry = w->GetModel().GetDefaultEntry();
    for (int k = 0; k < 200; k++) {
        for (auto &value : entry) {
            auto name = value.GetField().GetFieldName();
            if (name == "d32") *entry.GetPtr<double>(name) = k / 8.;
            else *entry.GetPtr<float>(name) = name[0] == 'q' ? k / 8.f - 20 : number<float>(k);
        }
        w->Fill();
        if (k % 70 == 69) w->CommitCluster();
    }
}

void ntuple_forms(const char *path) {
    using C = ROOT::ENTupleColumnType;
    auto model = ROOT::RNTupleModel::Create();
    std::vector<std::pair<const char *, ROOT::RFieldBase::RColumnRepresentations::Selection_t>> fields{
        {"f", {{C::kSplitReal32}, {C::kReal16}, {C::kReal32}}}, {"i", {{C::kSplitInt32}, {C::kInt32}}},
        {"d", {{C::kReal32}, {C::kSplitReal64}}}, {"v", {{C::kSplitIndex64}, {C::kIndex32}}},
        {"s", {{C::kIndex32, C::kChar}, {C::kSplitIndex64, C::kChar}}}};
    auto types = std::map<std::string, std::string>{
        {"f", "float"}, {"i", "std::int32_t"}, {"d", "double"}, {"v", "std::vector<float>"}, {"s", "std::string"}};
    std::map<std::string, ROOT::RFieldBase *> raw;
    for (auto &[name, choice] : fields) {
        auto field = ROOT::RFieldBase::Create(name, types[name]).Unwrap();
        field->SetColumnRepresentatives(choice);
        model->AddField(std::move(field));
    }
    auto w = writer(std::move(model), path);
    auto &entry = w->GetModel().GetDefaultEntry();
    for (int k = 0; k < 200; k++) {
        *entry.GetPtr<float>("f") = k / 8.f; *entry.GetPtr<std::int32_t>("i") = number<int>(k);
        *entry.GetPtr<double>("d") = k / 2.; *entry.GetPtr<std::vector<float>>("v") = std::vector<float>(count(k), k);
        *entry.GetPtr<std::string>("s") = std::string(k % 5, 'x');
        w->Fill();
        if (k % 40 == 39) {
            w->CommitCluster();
            for (auto &[name, choice] : fields)
                ROOT::Internal::RFieldRepresentationModifier::SetPrimaryColumnRepresentation(
                    const_cast<ROOT::RFieldBase &>(w->GetModel().GetConstField(name)), (k / 40 + 1) % choice.size());
        }
    }
}

void ntuple_variant(const char *path) {
    auto model = ROOT::RNTupleModel::Create();
    auto var = model->MakeField<std::variant<int, double>>("var"); auto i = model->MakeField<int>("i");
    auto w = writer(std::move(model), path);
    for (int k = 0; k < 50; k++) { *i = k; if (k % 3) *var = k; else *var = k / 2.; w->Fill(); }
}

void ntuple_import(const char *source, const char *path) {
    auto importer = ROOT::Experimental::RNTupleImporter::Create(source, "Events", path);
    ROOT::RNTupleWriteOptions options;
    options.SetCompression(505); options.SetInitialUnzippedPageSize(64); options.SetMaxUnzippedPageSize(64);
    importer->SetWriteOptions(options); importer->SetIsQuiet(true);
    importer->Import();
}

void twin(const char *path, int first) {
    auto model = ROOT::RNTupleModel::Create();
    auto i = model->MakeField<std::int32_t>("i");
    auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "Events", path);
    for (int k = 0; k < 50; k++) { *i = first + k; writer->Fill(); }
}
""")


def plain(compression: int, entries: int, autoflush: int, unaligned: bool, embedded: bool, path: str) -> None:
    """Write every plain type."""
    ROOT.plain(path, compression, entries, autoflush, unaligned, embedded)


def merged(parts: list[str], path: str) -> None:
    """Concatenate trees basket by basket, as hadd does."""
    merger = ROOT.TFileMerger(False, False)
    merger.SetFastMethod(True)
    merger.OutputFile(path, "RECREATE", LZ4)
    for part in parts:
        shutil.copyfile(HERE / f"{part}.root", f"{part}.root")
        merger.AddFile(f"{part}.root", False)
    if not merger.Merge():
        sys.exit(f"{path}: the merge failed")


def streamed(path: str) -> None:
    """Write vectors of objects as ROOT 5's classes stream them; each third entry has none."""
    file = ROOT.TFile(path, "RECREATE", "", ZLIB)
    tree = ROOT.TTree("Events", "sample")
    jets, whole, points = (ROOT.std.vector[kind]() for kind in ("TLorentzVector", "TLorentzVector", "TVector3"))
    tree.Branch("jets", jets)
    tree.Branch("whole", whole, 32000, 0)
    tree.Branch("points", points, 32000, 0)
    for i in range(12):
        for vector in (jets, whole, points):
            vector.clear()
        for j in range(i % 3):
            jets.push_back(ROOT.TLorentzVector(i, j, 1, 10))
            whole.push_back(ROOT.TLorentzVector(j, i, 2, 20))
            points.push_back(ROOT.TVector3(i, j, 3))
        tree.Fill()
    file.Write()
    file.Close()


def packed(path: str) -> None:
    """Write numbers that ROOT stores with fewer bits, in every shape of a leaf."""
    file = ROOT.TFile(path, "RECREATE", "", ZLIB)
    tree = ROOT.TTree("Events", "sample")
    n = array("i", [0])
    tree.Branch("n", n, "n/I")
    columns = []
    shapes = {"number": "", "array": "[3]", "list": "[n]", "arrays": "[n][3]"}
    for code, (name, shape), limits in itertools.product("df", shapes.items(), ("", "[0,100,16]")):
        column = array(code, [0.0] * 30)  # Double32_t and Float16_t are a double and a float in memory
        branch = f"{name}_{code}{'_range' if limits else ''}"
        tree.Branch(branch, column, f"{branch}{shape}/{code}{limits}")
        columns.append(column)
    for i in range(12):
        n[0] = i % 4
        for column in columns:
            column[:] = array(column.typecode, [i + k for k in range(30)])
        tree.Fill()
    file.Write()
    file.Close()


def samples() -> dict[str, Callable[[str], None]]:
    """Return a function for each sample that writes it to a path; a later sample may read an earlier one."""
    codecs = {"zlib": ZLIB, "lzma": LZMA, "lz4": LZ4, "zstd": ZSTD, "none": NONE}
    return {
        **{f"plain_{name}": partial(plain, codec, 150, 60, False, False) for name, codec in codecs.items()},
        "unaligned": partial(plain, ZLIB, 180, 0, True, False),
        "unflushed": partial(plain, ZLIB, 150, 0, True, True),
        "embedded": partial(plain, ZLIB, 20, 0, False, True),
        "counters": ROOT.counters,
        "offsetmap": ROOT.offsetmap,
        "stl": ROOT.stl,
        "objects": ROOT.objects,
        "streamed": streamed,
        "packed": packed,
        "merged": partial(merged, ["plain_lz4", "unflushed", "embedded"]),
        "late": ROOT.late,
        "folders": ROOT.folders,
        "unclosed": ROOT.unclosed,
        "rntuple": ROOT.rntuple,
        "ntuple_pages": lambda path: ROOT.ntuple_pages(path, ZSTD, True),
        "ntuple_plain": lambda path: ROOT.ntuple_pages(path, NONE, False),
        "ntuple_late": ROOT.ntuple_late,
        "ntuple_floats": ROOT.ntuple_floats,
        "ntuple_forms": ROOT.ntuple_forms,
        "ntuple_variant": ROOT.ntuple_variant,
        "ntuple_import": lambda path: ROOT.ntuple_import(str(HERE / "plain_zstd.root"), path),
        "twin_1": lambda path: ROOT.twin(path, 0),
        "twin_2": lambda path: ROOT.twin(path, 50),
    }


def main() -> None:
    """Write the samples on the command line, or all."""
    with tempfile.TemporaryDirectory() as folder:  # for the dictionaries, and because a file stores this path
        os.chdir(folder)
        ROOT.gInterpreter.GenerateDictionary("vector<ROOT::Math::PtEtaPhiMVector>", "vector;Math/Vector4D.h")
        ROOT.gInterpreter.GenerateDictionary("map<int,double>", "map")
        ROOT.gInterpreter.GenerateDictionary("vector<TLorentzVector>;vector<TVector3>", "vector;TLorentzVector.h")
        writers = samples()
        for name in sys.argv[1:] or writers:
            path = Path(f"{name}.root")
            writers[name](str(path))
            shutil.copyfile(path, HERE / path)
            print(f"{path.name:20} {path.stat().st_size:8,} bytes")


if __name__ == "__main__":
    main()
